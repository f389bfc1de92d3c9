//! Programs of the system that prepare what members run in.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs of administrators are, which the PATH of others often leaves out.
const ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Why such a program does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// It is not there.
    #[error("there is no {name} in the PATH (Debian: package {package})")]
    Missing {
        /// The program.
        name: &'static str,
        /// Who has it.
        package: &'static str,
    },
    /// It does not do what it was told.
    #[error("{command}: {complaint}")]
    Refused {
        /// The program with its arguments.
        command: String,
        /// What it, or the system, says.
        complaint: String,
    },
}

/// A program of the system.
#[derive(Clone, Debug)]
pub(crate) struct Tool(PathBuf);

impl Tool {
    /// Looks for it.
    ///
    /// # Errors
    /// It is not there; then the package of Debian is named that has it.
    pub(crate) fn find(name: &'static str, package: &'static str) -> Result<Self, ToolError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(ADMINISTRATORS.map(PathBuf::from))
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
            .map(Self)
            .ok_or(ToolError::Missing { name, package })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be run, or ends with an error.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<(), ToolError> {
        self.run_with(arguments, "")
    }

    /// Runs it to its end with that on its standard input, of which it leaves nothing.
    ///
    /// # Errors
    /// It cannot be run, or ends with an error.
    pub(crate) fn run_with<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        input: &str,
    ) -> Result<(), ToolError> {
        let refused = |complaint: String| ToolError::Refused {
            command: shown(&self.0, arguments),
            complaint,
        };
        let mut child = Command::new(&self.0)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| refused(error.to_string()))?;
        let mut stdin = child.stdin.take().expect("it was asked for");
        // What ends before it has read everything says why on standard error.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child
            .wait_with_output()
            .map_err(|error| refused(error.to_string()))?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(refused(match complaint.is_empty() {
                    true => output.status.to_string(),
                    false => complaint.replace('\n', "; "),
                }))
            }
        }
    }
}

fn shown<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> String {
    let name = program.file_name().unwrap_or_default().to_owned();
    let words: Vec<OsString> = std::iter::once(name)
        .chain(arguments.iter().map(|word| word.as_ref().to_owned()))
        .collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_package() {
        let missing = Tool::find("no-such-program", "nothing").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "there is no no-such-program in the PATH (Debian: package nothing)"
        );
    }

    #[test]
    fn what_a_program_complains_of_is_told_on_one_line() {
        let shell = Tool::find("sh", "dash").unwrap();
        shell
            .run_with(&["-c", "read word; test $word = so"], "so\n")
            .unwrap();
        let refused = shell.run(&["-c", "echo a >&2; echo b >&2; exit 3"]);
        let complaint = refused.unwrap_err().to_string();
        assert!(complaint.ends_with(": a; b"), "{complaint}");
        let silent = shell.run(&["-c", "exit 3"]).unwrap_err().to_string();
        assert!(silent.ends_with(": exit status: 3"), "{silent}");
    }
}
