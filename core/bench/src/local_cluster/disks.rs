//! A disk for each member: an ext4 file system in an image file, mounted through a loop device,
//! that can lose its power and run full.
//!
//! A loss of power makes the image file immutable: from then on nothing that the file system
//! writes reaches it, and what is in it is what the disk has. It holds all that was
//! synchronised, and of the rest only what had been committed to the journal: `data=journal`
//! makes data wait for that, which would else be in the image before it was synchronised. When
//! the member has ended, the image is mounted again as a machine does that starts.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, IFlags, fallocate, ioctl_getflags, ioctl_setflags, statvfs};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::tool::{Tool, ToolError};

/// Far more than a member writes before it forgets: etcd alone keeps up to seven segments of
/// 64 MiB. It takes no more of the machine's disk than is written.
const DISK_BYTES: u64 = 2 << 30;

/// What a small file system needs: little time to be made.
const FORMAT: [&str; 9] = ["-q", "-F", "-m", "0", "-N", "8192", "-J", "size=32", "--"];

/// What takes the room of a disk that is full.
const FILLER: &str = "filler";

/// The least that is taken: a block.
const BLOCK_BYTES: u64 = 4_096;

/// The disks, by the numbers of members.
pub(crate) struct Disks {
    mount: Tool,
    disks: Vec<Disk>,
}

struct Disk {
    path: PathBuf,
    image: File,
    /// Where it is mounted.
    folder: PathBuf,
}

impl Disks {
    /// Makes them, with files below that folder.
    ///
    /// # Errors
    /// A program is not there, or the system refuses.
    pub(crate) fn build(folder: &Path, members: usize) -> Result<Self, ToolError> {
        let format = Tool::find("mkfs.ext4", "e2fsprogs")?;
        let mut disks = Self {
            mount: Tool::find("mount", "mount")?,
            disks: Vec::new(),
        };
        for member in 0..members {
            let disk = Disk::create(folder, member).map_err(|error| ToolError::Refused {
                command: format!("a disk in {}", folder.display()),
                complaint: error.to_string(),
            })?;
            let words = FORMAT.iter().map(AsRef::as_ref);
            format.run(&words.chain([disk.path.as_os_str()]).collect::<Vec<_>>())?;
            disks.mount(&disk)?;
            disks.disks.push(disk);
        }
        Ok(disks)
    }

    fn mount(&self, disk: &Disk) -> Result<(), ToolError> {
        let (image, folder) = (disk.path.as_os_str(), disk.folder.as_os_str());
        let options = ["-t", "ext4", "-o", "loop,data=journal", "--"];
        let words = options.iter().map(AsRef::as_ref);
        self.mount
            .run(&words.chain([image, folder]).collect::<Vec<_>>())
    }

    /// Where a member's data are to be.
    pub(crate) fn folder(&self, member: usize) -> &Path {
        &self.disks[member].folder
    }

    /// Takes the power from the disks of these members at once: what they have not
    /// synchronised is lost.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn cut_power(&self, members: &[usize]) -> io::Result<()> {
        // The system may wait for a write that is under way, and one disk is not to wait for
        // another.
        std::thread::scope(|scope| {
            let cuts: Vec<_> = members
                .iter()
                .map(|member| scope.spawn(|| set_immutable(&self.disks[*member].image, true)))
                .collect();
            cuts.into_iter()
                .try_for_each(|cut| cut.join().expect("no thread panics"))
        })
    }

    /// Starts the disk of a member that has ended again, with what it had when it lost its
    /// power.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn restore_power(&self, member: usize) -> Result<(), ToolError> {
        let disk = &self.disks[member];
        let refused = |error: io::Error| ToolError::Refused {
            command: format!("restore {}", disk.folder.display()),
            complaint: error.to_string(),
        };
        // Whatever the file system still has to write is refused here.
        unmount(&disk.folder, UnmountFlags::empty())
            .map_err(io::Error::from)
            .and_then(|()| set_immutable(&disk.image, false))
            .map_err(refused)?;
        self.mount(disk)
    }

    /// Takes all the room that a member's disk has left.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn fill(&self, member: usize) -> io::Result<()> {
        let folder = self.folder(member);
        let filler = File::create(folder.join(FILLER))?;
        let free = statvfs(folder)?;
        let mut room = free.f_bavail * free.f_frsize;
        let mut taken = 0;
        // The file system itself needs some of it, so the last pieces are small.
        while room >= BLOCK_BYTES {
            match fallocate(&filler, FallocateFlags::empty(), taken, room) {
                Ok(()) => taken += room,
                Err(Errno::NOSPC) => room /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn free(&self, member: usize) -> io::Result<()> {
        std::fs::remove_file(self.folder(member).join(FILLER))
    }
}

impl Disk {
    fn create(folder: &Path, member: usize) -> io::Result<Self> {
        let path = folder.join(format!("disk{member}.img"));
        let image = File::create_new(&path)?;
        image.set_len(DISK_BYTES)?;
        let folder = folder.join(format!("disk{member}"));
        std::fs::create_dir(&folder)?;
        Ok(Self {
            path,
            image,
            folder,
        })
    }
}

impl Drop for Disks {
    /// The folder that holds the images is to be removed.
    fn drop(&mut self) {
        for disk in &self.disks {
            // It is gone at the latest with the namespace of mounts.
            let _ = unmount(&disk.folder, UnmountFlags::DETACH);
            let _ = set_immutable(&disk.image, false);
        }
    }
}

/// Whether nothing can be written to a file any more, not even by who has it open.
fn set_immutable(file: &File, is_immutable: bool) -> io::Result<()> {
    let mut flags = ioctl_getflags(file)?;
    flags.set(IFlags::IMMUTABLE, is_immutable);
    Ok(ioctl_setflags(file, flags)?)
}

/// Sees whether files in that folder can lose their power.
///
/// # Errors
/// They cannot, and why.
pub(crate) fn try_loss_of_power(folder: &Path) -> Result<(), String> {
    let attempt = || {
        let mut file = tempfile::tempfile_in(folder)?;
        set_immutable(&file, true)?;
        let written = file.write(b"x");
        set_immutable(&file, false)?;
        Ok(written.is_err())
    };
    match attempt() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "the file system of {} lets immutable files be written to",
            folder.display()
        )),
        Err(error) => {
            let error: io::Error = error;
            Err(format!(
                "no file in {} can be made immutable: {error}",
                folder.display()
            ))
        }
    }
}
