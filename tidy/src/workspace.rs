//! The files of the workspace: found, read and, where they are Rust, parsed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that hold no text of ours: results of builds and runs.
const FOLDERS_OF_RESULTS: [&str; 5] = [
    "target",
    "artefacts",
    "campaign",
    "campaign-merged",
    "explore",
];

/// Folders whose names begin with a dot and that are nevertheless ours.
const DOT_FOLDERS: [&str; 2] = [".cargo", ".ci"];

/// A text file.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// The path from the root of the workspace, with `/` between its parts.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A Rust file.
#[derive(Clone)]
pub struct Source {
    /// The path from the root of the workspace, with `/` between its parts.
    pub path: String,
    /// What it holds.
    pub text: String,
    /// The same, parsed.
    pub syntax: syn::File,
}

impl Source {
    /// Parses a file.
    ///
    /// # Errors
    /// The text is not Rust; the error has file and line.
    pub fn parse(path: &str, text: &str) -> Result<Self, String> {
        let syntax = syn::parse_file(text).map_err(|error| {
            let line = error.span().start().line;
            format!("{path}:{line}: {error}")
        })?;
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            syntax,
        })
    }

    /// Whether the file holds tests, benchmarks or examples alone.
    pub fn is_for_tests(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| matches!(part, "tests" | "benches" | "examples" | "tests.rs"))
    }
}

/// All that the rules look at.
#[derive(Clone, Default)]
pub struct Workspace {
    /// Each path that exists, files and folders.
    pub paths: BTreeSet<String>,
    /// The text files.
    pub files: Vec<TextFile>,
    /// The Rust files, parsed.
    pub sources: Vec<Source>,
}

impl Workspace {
    /// Reads the workspace at `root`.
    ///
    /// # Errors
    /// A folder or a file cannot be read, or a Rust file cannot be parsed.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut workspace = Self::default();
        workspace.read_folder(root, "")?;
        Ok(workspace)
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        let file = self.files.iter().find(|file| file.path == path)?;
        Some(&file.text)
    }

    fn read_folder(&mut self, folder: &Path, path: &str) -> io::Result<()> {
        let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        entries.sort();
        for entry in entries {
            let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let path = match path {
                "" => name.to_owned(),
                _ => format!("{path}/{name}"),
            };
            if entry.is_dir() {
                let is_ours = !name.starts_with('.') || DOT_FOLDERS.contains(&name);
                let is_result = !path.contains('/') && FOLDERS_OF_RESULTS.contains(&name);
                if is_ours && !is_result {
                    self.paths.insert(path.clone());
                    self.read_folder(&entry, &path)?;
                }
            } else {
                self.paths.insert(path.clone());
                self.read_file(&entry, path)?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, file: &Path, path: String) -> io::Result<()> {
        // What is not text holds nothing that a rule could be about.
        let Ok(text) = String::from_utf8(fs::read(file)?) else {
            return Ok(());
        };
        if path.ends_with(".rs") {
            let source = Source::parse(&path, &text)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.sources.push(source);
        }
        self.files.push(TextFile { path, text });
        Ok(())
    }
}
