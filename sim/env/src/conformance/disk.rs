//! Properties of a disk.

use crate::{Disk, DiskFile, OpenMode};
use std::io::ErrorKind;
use std::path::Path;

/// Checks every promise of [`Disk`] and [`DiskFile`] but durability, in folders below
/// `dir`, which must not exist or be empty.
///
/// # Panics
/// If a promise is not kept.
pub async fn disk_conformance<D: Disk>(disk: &D, dir: &Path) {
    folders_are_made_with_their_parents(disk, dir).await;
    what_does_not_exist_is_not_found(disk, dir).await;
    create_new_is_exclusive(disk, dir).await;
    a_file_opened_for_reading_cannot_be_written(disk, dir).await;
    what_was_written_is_read_at_its_place(disk, dir).await;
    a_gap_reads_as_zeros(disk, dir).await;
    reads_stop_at_the_end(disk, dir).await;
    set_len_cuts_and_extends_with_zeros(disk, dir).await;
    two_handles_see_one_file(disk, dir).await;
    large_writes_are_read_back(disk, dir).await;
    appending_at_the_end_grows_the_file(disk, dir).await;
    a_rename_replaces(disk, dir).await;
    a_rename_moves_between_folders(disk, dir).await;
    a_rename_to_its_own_name_changes_nothing(disk, dir).await;
    a_removed_file_stays_readable_while_open(disk, dir).await;
    names_are_listed_sorted_and_without_folders(disk, dir).await;
    names_can_be_used_again(disk, dir).await;
}

async fn create<D: Disk>(disk: &D, path: &Path, data: &[u8]) -> D::File {
    let file = disk
        .open(path, OpenMode::CreateNew)
        .await
        .expect("a new file can be created");
    file.write_all_at(0, data)
        .await
        .expect("a new file can be written");
    file
}

async fn contents<F: DiskFile>(file: &F) -> Vec<u8> {
    let length = file.len().await.expect("a file has a length");
    file.read_exact_at(0, length as usize)
        .await
        .expect("a file can be read to its end")
}

async fn folder<D: Disk>(disk: &D, dir: &Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    disk.create_dir_all(&path)
        .await
        .expect("a folder can be created");
    path
}

#[track_caller]
fn assert_kind<T>(result: std::io::Result<T>, kind: ErrorKind, what: &str) {
    match result {
        Ok(_) => panic!("{what} succeeds, instead of {kind:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}

async fn folders_are_made_with_their_parents<D: Disk>(disk: &D, dir: &Path) {
    let deep = dir.join("folders/one/two");
    disk.create_dir_all(&deep)
        .await
        .expect("parents are created");
    disk.create_dir_all(&deep)
        .await
        .expect("creating a folder that exists changes nothing");
    assert_eq!(
        disk.list(&deep).await.expect("the folder exists"),
        [""; 0],
        "a new folder is empty"
    );
    create(disk, &deep.join("file"), b"kept").await;
    disk.create_dir_all(&deep)
        .await
        .expect("creating a folder that exists changes nothing");
    assert_eq!(disk.list(&deep).await.expect("the folder exists"), ["file"]);
    disk.sync_dir(&deep)
        .await
        .expect("a folder can be synchronised");
}

async fn what_does_not_exist_is_not_found<D: Disk>(disk: &D, dir: &Path) {
    let dir = folder(disk, dir, "missing").await;
    let (file, other, lost) = (dir.join("file"), dir.join("other"), dir.join("no/file"));
    let kind = ErrorKind::NotFound;
    assert_kind(
        disk.open(&file, OpenMode::Read).await,
        kind,
        "opening a missing file to read",
    );
    assert_kind(
        disk.open(&file, OpenMode::ReadWrite).await,
        kind,
        "opening a missing file to write",
    );
    assert_kind(
        disk.open(&lost, OpenMode::CreateNew).await,
        kind,
        "creating in a missing folder",
    );
    assert_kind(
        disk.remove_file(&file).await,
        kind,
        "removing a missing file",
    );
    assert_kind(
        disk.rename(&file, &other).await,
        kind,
        "renaming a missing file",
    );
    assert_kind(
        disk.list(&dir.join("no")).await,
        kind,
        "listing a missing folder",
    );
    assert_kind(
        disk.sync_dir(&dir.join("no")).await,
        kind,
        "synchronising a missing folder",
    );
    assert_eq!(
        disk.list(&dir).await.expect("the folder exists"),
        [""; 0],
        "failures create nothing"
    );
}

async fn create_new_is_exclusive<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "exclusive").await.join("file");
    let first = create(disk, &path, b"first").await;
    let again = disk.open(&path, OpenMode::CreateNew).await;
    assert_kind(
        again,
        ErrorKind::AlreadyExists,
        "creating a file that exists",
    );
    assert_eq!(
        contents(&first).await,
        b"first",
        "a refused creation changes nothing"
    );
    let opened = disk
        .open(&path, OpenMode::ReadWrite)
        .await
        .expect("the file exists");
    assert_eq!(
        contents(&opened).await,
        b"first",
        "opening does not truncate"
    );
}

async fn a_file_opened_for_reading_cannot_be_written<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "read-only").await.join("file");
    create(disk, &path, b"data").await;
    let file = disk
        .open(&path, OpenMode::Read)
        .await
        .expect("the file exists");
    assert!(
        file.write_at(0, b"X").await.is_err(),
        "a file opened to read takes a write"
    );
    assert!(
        file.set_len(0).await.is_err(),
        "a file opened to read takes a new length"
    );
    assert_eq!(contents(&file).await, b"data");
}

async fn what_was_written_is_read_at_its_place<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "places").await.join("file");
    let file = create(disk, &path, b"0123456789").await;
    file.write_all_at(3, b"abc")
        .await
        .expect("overwriting works");
    assert_eq!(contents(&file).await, b"012abc6789");
    file.write_all_at(8, b"XYZ")
        .await
        .expect("writing across the end works");
    assert_eq!(contents(&file).await, b"012abc67XYZ");
    assert_eq!(
        file.read_exact_at(2, 4).await.expect("within the file"),
        b"2abc"
    );
    assert_eq!(
        file.write_at(4, b"").await.expect("writing nothing works"),
        0
    );
    let taken = file
        .write_at(0, b"#")
        .await
        .expect("writing one byte works");
    assert_eq!(taken, 1, "a write of data that is not empty takes some");
    file.sync().await.expect("a file can be synchronised");
    drop(file);
    let file = disk
        .open(&path, OpenMode::Read)
        .await
        .expect("the file exists");
    assert_eq!(
        contents(&file).await,
        b"#12abc67XYZ",
        "closing loses nothing"
    );
    file.sync()
        .await
        .expect("a file opened to read can be synchronised");
}

async fn a_gap_reads_as_zeros<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "gaps").await.join("file");
    let file = create(disk, &path, b"ab").await;
    file.write_all_at(10_000, b"z")
        .await
        .expect("writing past the end works");
    let mut expected = vec![0; 10_001];
    expected[..2].copy_from_slice(b"ab");
    expected[10_000] = b'z';
    assert_eq!(contents(&file).await, expected);
}

async fn reads_stop_at_the_end<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "ends").await.join("file");
    let file = create(disk, &path, b"12345").await;
    let part = file
        .read_at(3, 10)
        .await
        .expect("reading across the end works");
    assert!(
        !part.is_empty() && b"45".starts_with(&part),
        "{part:?} across the end"
    );
    for offset in [5, 6, 1_000_000] {
        assert_eq!(
            file.read_at(offset, 10)
                .await
                .expect("reading past the end works"),
            b""
        );
    }
    assert_eq!(
        file.read_at(0, 0).await.expect("reading nothing works"),
        b""
    );
    assert_kind(
        file.read_exact_at(3, 3).await,
        ErrorKind::UnexpectedEof,
        "reading exactly past the end",
    );
}

async fn set_len_cuts_and_extends_with_zeros<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "lengths").await.join("file");
    let file = create(disk, &path, b"12345").await;
    file.set_len(3).await.expect("cutting works");
    assert_eq!(contents(&file).await, b"123");
    file.set_len(6).await.expect("extending works");
    assert_eq!(
        contents(&file).await,
        b"123\0\0\0",
        "what was cut off does not come back"
    );
    file.set_len(0).await.expect("emptying works");
    assert_eq!(file.len().await.expect("a length"), 0);
}

async fn two_handles_see_one_file<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "handles").await.join("file");
    let first = create(disk, &path, b"one").await;
    let second = disk
        .open(&path, OpenMode::ReadWrite)
        .await
        .expect("the file exists");
    second
        .write_all_at(0, b"two")
        .await
        .expect("the other handle writes");
    assert_eq!(contents(&first).await, b"two");
    first.set_len(1).await.expect("cutting works");
    assert_eq!(contents(&second).await, b"t");
}

async fn large_writes_are_read_back<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "large").await.join("file");
    let data: Vec<u8> = (0..3_000_001u32).map(|at| (at % 251) as u8).collect();
    let file = create(disk, &path, &data).await;
    file.sync().await.expect("a file can be synchronised");
    assert!(contents(&file).await == data, "3 MB are read back");
    let middle = file
        .read_exact_at(1_234_567, 4096)
        .await
        .expect("within the file");
    assert!(
        middle == data[1_234_567..1_234_567 + 4096],
        "a part of 3 MB is read back"
    );
}

async fn a_rename_replaces<D: Disk>(disk: &D, dir: &Path) {
    let dir = folder(disk, dir, "renames").await;
    let (from, to) = (dir.join("from"), dir.join("to"));
    let renamed = create(disk, &from, b"new").await;
    let replaced = create(disk, &to, b"old").await;
    disk.rename(&from, &to)
        .await
        .expect("renaming over a file works");
    assert_eq!(disk.list(&dir).await.expect("the folder exists"), ["to"]);
    let opened = disk
        .open(&to, OpenMode::Read)
        .await
        .expect("the file exists");
    assert_eq!(contents(&opened).await, b"new");
    assert_eq!(
        contents(&replaced).await,
        b"old",
        "an open file survives its replacement"
    );
    renamed
        .write_all_at(3, b"er")
        .await
        .expect("a handle survives the rename");
    assert_eq!(contents(&opened).await, b"newer");
    disk.rename(&to, &from)
        .await
        .expect("renaming to a free name works");
    disk.sync_dir(&dir)
        .await
        .expect("a folder can be synchronised");
    assert_eq!(disk.list(&dir).await.expect("the folder exists"), ["from"]);
}

async fn appending_at_the_end_grows_the_file<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "appends").await.join("file");
    let file = create(disk, &path, b"").await;
    let mut expected = Vec::new();
    for part in [&b"one"[..], b"", b"three", &[7; 5_000]] {
        let end = file.len().await.expect("a length");
        assert_eq!(end, expected.len() as u64);
        file.write_all_at(end, part).await.expect("appending works");
        expected.extend_from_slice(part);
        assert_eq!(contents(&file).await, expected);
    }
    file.sync().await.expect("a file can be synchronised");
    file.set_len(4).await.expect("cutting works");
    file.write_all_at(4, b"!").await.expect("appending works");
    assert_eq!(contents(&file).await, b"onet!");
}

async fn a_rename_moves_between_folders<D: Disk>(disk: &D, dir: &Path) {
    let (here, there) = (
        folder(disk, dir, "moves/here").await,
        folder(disk, dir, "moves/there").await,
    );
    create(disk, &here.join("file"), b"moved").await;
    create(disk, &here.join("stays"), b"").await;
    disk.rename(&here.join("file"), &there.join("other"))
        .await
        .expect("moving a file works");
    for dir in [&here, &there] {
        disk.sync_dir(dir)
            .await
            .expect("a folder can be synchronised");
    }
    assert_eq!(disk.list(&here).await.expect("it exists"), ["stays"]);
    assert_eq!(disk.list(&there).await.expect("it exists"), ["other"]);
    let moved = disk
        .open(&there.join("other"), OpenMode::Read)
        .await
        .expect("the file exists");
    assert_eq!(contents(&moved).await, b"moved");
    assert_kind(
        disk.rename(&here.join("stays"), &dir.join("moves/nowhere/file"))
            .await,
        ErrorKind::NotFound,
        "moving into a missing folder",
    );
    assert_eq!(disk.list(&here).await.expect("it exists"), ["stays"]);
}

async fn a_rename_to_its_own_name_changes_nothing<D: Disk>(disk: &D, dir: &Path) {
    let dir = folder(disk, dir, "same").await;
    let path = dir.join("file");
    let file = create(disk, &path, b"data").await;
    disk.rename(&path, &path).await.expect("renaming works");
    assert_eq!(disk.list(&dir).await.expect("it exists"), ["file"]);
    assert_eq!(contents(&file).await, b"data");
}

async fn a_removed_file_stays_readable_while_open<D: Disk>(disk: &D, dir: &Path) {
    let dir = folder(disk, dir, "removals").await;
    let path = dir.join("file");
    let file = create(disk, &path, b"data").await;
    disk.remove_file(&path)
        .await
        .expect("an open file can be removed");
    assert_eq!(disk.list(&dir).await.expect("the folder exists"), [""; 0]);
    assert_eq!(contents(&file).await, b"data");
    file.write_all_at(4, b"!")
        .await
        .expect("an open file can be written after its removal");
    assert_eq!(contents(&file).await, b"data!");
    assert_kind(
        disk.open(&path, OpenMode::Read).await,
        ErrorKind::NotFound,
        "opening a removed file",
    );
}

async fn names_are_listed_sorted_and_without_folders<D: Disk>(disk: &D, dir: &Path) {
    let dir = folder(disk, dir, "names").await;
    for name in ["b", "a.tmp", "Z", "a", "10", "9"] {
        create(disk, &dir.join(name), b"").await;
    }
    disk.create_dir_all(&dir.join("c"))
        .await
        .expect("a folder can be created");
    create(disk, &dir.join("c/inner"), b"").await;
    assert_eq!(
        disk.list(&dir).await.expect("the folder exists"),
        ["10", "9", "Z", "a", "a.tmp", "b"]
    );
}

async fn names_can_be_used_again<D: Disk>(disk: &D, dir: &Path) {
    let path = folder(disk, dir, "again").await.join("file");
    let old = create(disk, &path, b"old data").await;
    disk.remove_file(&path).await.expect("the file exists");
    let new = create(disk, &path, b"new").await;
    assert_eq!(contents(&new).await, b"new", "a new file is empty at first");
    assert_eq!(
        contents(&old).await,
        b"old data",
        "the removed file is another one"
    );
}
