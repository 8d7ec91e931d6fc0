//! The journal: accepted invalidations on disk, so that a restart forgets none.
//!
//! Segments `purges-NUMBER.log` in the state directory, each a head and records of
//! growing numbers. One thread writes: all that is waiting goes out in one write
//! and one sync, and is acknowledged after that.
//!
//! What always holds: what was acknowledged is on disk; a record is read back as it
//! was written or not at all; a torn tail is cut off and reported; the last number
//! outlives every record. What is no longer known lies at or below the *horizon*.
//!
//! What it never does: know what an invalidation means. It keeps bytes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::observe::counters::Counters;

const MAGIC: &[u8; 8] = b"FOREBAYJ";
const VERSION: u32 = 1;
/// Magic, version, the last number before the first record, checksum.
const HEAD: usize = 8 + 4 + 8 + 8;
/// Length, number, checksum.
const RECORD_HEAD: usize = 4 + 8 + 8;
/// The longest payload: whatever a node takes, or is told by another one.
const MOST_PAYLOAD: usize = 16 * 1024 * 1024;
/// A segment is closed when it has so many bytes.
const SEGMENT: u64 = 8 * 1024 * 1024;
/// How many segments are kept; the oldest goes first.
const SEGMENTS: usize = 8;
/// Appends that may wait.
const QUEUE: usize = 4096;
/// How long an append may take before its caller is told that it is not durable.
const PATIENCE: Duration = Duration::from_secs(5);

/// A record, as it is read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its number.
    pub sequence: u64,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// What was found at the start.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Recovered {
    /// The records, oldest first.
    pub records: Vec<Record>,
    /// The highest number that is known to have been given out.
    pub sequence: u64,
    /// What has this number or a lower one, and is not among the records, is not
    /// known any more.
    pub horizon: u64,
    /// What was damaged, in words.
    pub damage: Vec<String>,
}

/// Why the journal cannot be used, or did not take a record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another node has the directory.
    #[error("`{0}` is in use by another forebay; give each its own state directory")]
    InUse(String),
    /// The system refused.
    #[error("`{path}`: {error}; check that the directory exists, is writable, and has room")]
    Io {
        /// The file or directory.
        path: String,
        /// What the system said.
        error: String,
    },
    /// Too many appends are waiting for the disk.
    #[error("the journal's queue is full: the disk is too slow")]
    Full,
    /// It took too long, or the writer is gone.
    #[error("the journal did not confirm within {PATIENCE:?}")]
    Unconfirmed,
    /// The payload is too long.
    #[error("a record of {0} bytes is too long for the journal; purge less at once")]
    TooLong(usize),
}

/// The journal of a node; dropping it ends its thread.
pub struct Journal {
    queue: SyncSender<Append>,
    counters: Arc<Counters>,
}

/// An append that has been queued.
pub struct Appending(Receiver<Result<(), JournalError>>);

struct Append {
    record: Record,
    done: SyncSender<Result<(), JournalError>>,
}

/// What the journal needs of a file, so that a disk that fails can be tried.
trait Device: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Device for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_data()
    }
}

impl Journal {
    /// Opens the journal in this directory, which is made if it is not there, and
    /// reads what it has.
    pub fn open(directory: &Path, counters: Arc<Counters>) -> Result<(Journal, Recovered), JournalError> {
        let at = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| JournalError::Io { path, error: error.to_string() }
        };
        std::fs::create_dir_all(directory).map_err(at(directory))?;
        let lock_path = directory.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse(directory.display().to_string()));
            }
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        let (recovered, torn) = recover(directory).map_err(|(path, error)| at(&path)(error))?;
        for damage in &recovered.damage {
            tracing::warn!(target: "forebay::journal", "{damage}");
        }
        counters.journal_torn_bytes.add(torn);
        // A new segment for each start: nothing is ever written behind what is damaged.
        let segment = Segment::begin(directory, recovered.sequence)
            .map_err(|error| at(&segment_path(directory, recovered.sequence))(error))?;
        drop_oldest(directory);
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        let mut writer = Writer {
            directory: directory.to_owned(),
            segment: Some(segment),
            counters: Arc::clone(&counters),
            _lock: lock,
        };
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(at(directory))?;
        Ok((Journal { queue, counters }, recovered))
    }

    /// Queues a record. Numbers must grow from call to call; so callers queue in
    /// the order in which they take them. Never blocks.
    pub fn append(&self, record: Record) -> Result<Appending, JournalError> {
        if record.payload.len() > MOST_PAYLOAD {
            return Err(JournalError::TooLong(record.payload.len()));
        }
        let (done, told) = mpsc::sync_channel(1);
        match self.queue.try_send(Append { record, done }) {
            Ok(()) => Ok(Appending(told)),
            Err(TrySendError::Full(_)) => {
                self.counters.journal_full.up();
                Err(JournalError::Full)
            }
            Err(TrySendError::Disconnected(_)) => Err(JournalError::Unconfirmed),
        }
    }
}

impl Appending {
    /// Blocks until the record is on disk.
    pub fn wait(self) -> Result<(), JournalError> {
        self.0.recv_timeout(PATIENCE).unwrap_or(Err(JournalError::Unconfirmed))
    }
}

/// The one who writes.
struct Writer {
    directory: PathBuf,
    /// None after a failure that could not be mended; the next batch begins a new one.
    segment: Option<Segment>,
    counters: Arc<Counters>,
    /// Held for as long as the journal is written.
    _lock: File,
}

struct Segment {
    device: Box<dyn Device>,
    length: u64,
    last: u64,
}

impl Segment {
    fn begin(directory: &Path, last: u64) -> io::Result<Segment> {
        let path = segment_path(directory, last);
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        file.write_all(&head(last))?;
        file.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(Segment { device: Box::new(file), length: HEAD as u64, last })
    }
}

impl Writer {
    fn run(&mut self, waiting: &Receiver<Append>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = vec![first];
            batch.extend(waiting.try_iter().take(QUEUE));
            let outcome = self.write(&batch);
            if let Err(error) = &outcome {
                self.counters.journal_errors.up();
                tracing::error!(target: "forebay::journal", "{} purges are not on disk: {error}", batch.len());
            }
            for append in batch {
                // A caller that has left does not want to know.
                let _ = append.done.send(outcome.clone());
            }
        }
    }

    fn write(&mut self, batch: &[Append]) -> Result<(), JournalError> {
        let io = |directory: &Path, error: io::Error| JournalError::Io {
            path: directory.display().to_string(),
            error: error.to_string(),
        };
        let last = batch.iter().map(|append| append.record.sequence).max().unwrap_or_default();
        let begun_after = self.segment.as_ref().map_or(last.saturating_sub(batch.len() as u64), |it| it.last);
        if self.segment.as_ref().is_none_or(|segment| segment.length >= SEGMENT) {
            let segment = Segment::begin(&self.directory, begun_after);
            self.segment = Some(segment.map_err(|error| io(&self.directory, error))?);
            drop_oldest(&self.directory);
        }
        let Some(segment) = &mut self.segment else { return Err(JournalError::Unconfirmed) };
        let bytes: Vec<u8> = batch.iter().flat_map(|append| record(&append.record)).collect();
        match segment.device.append(&bytes).and_then(|()| segment.device.sync()) {
            Ok(()) => {
                segment.length += bytes.len() as u64;
                segment.last = last;
                self.counters.journal_records.add(batch.len() as u64);
                self.counters.journal_syncs.up();
                self.counters.journal_bytes.add(bytes.len() as u64);
                Ok(())
            }
            Err(error) => {
                // Nobody knows what of it is on disk: it is cut off, or, if not even
                // that can be done, the segment is left behind.
                if segment.device.cut(segment.length).is_err() {
                    self.segment = None;
                }
                Err(io(&self.directory, error))
            }
        }
    }
}

fn head(last: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(last.to_le_bytes());
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes
}

fn record(record: &Record) -> Vec<u8> {
    let length = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(RECORD_HEAD + record.payload.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(record.sequence.to_le_bytes());
    bytes.extend(checksum(length, record.sequence, &record.payload).to_le_bytes());
    bytes.extend(&record.payload);
    bytes
}

fn checksum(length: u32, sequence: u64, payload: &[u8]) -> u64 {
    let mut all = length.to_le_bytes().to_vec();
    all.extend(sequence.to_le_bytes());
    all.extend(payload);
    xxh3_64(&all)
}

fn segment_path(directory: &Path, last: u64) -> PathBuf {
    directory.join(format!("purges-{last:020}.log"))
}

/// The segments of a directory, oldest first.
fn segments(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("purges-") && name.ends_with(".log") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Keeps the newest segments. What cannot be deleted stays until the next time.
fn drop_oldest(directory: &Path) {
    let found = segments(directory).unwrap_or_default();
    for path in found.iter().take(found.len().saturating_sub(SEGMENTS)) {
        let _ = std::fs::remove_file(path);
    }
}

/// Reads what is there. Cuts off nothing: what is torn is left where it is, and a
/// new segment begins.
fn recover(directory: &Path) -> Result<(Recovered, u64), (PathBuf, io::Error)> {
    let mut recovered = Recovered::default();
    let mut torn = 0;
    let found = segments(directory).map_err(|error| (directory.to_owned(), error))?;
    for (index, path) in found.iter().enumerate() {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| (path.clone(), error))?;
        let read = read_segment(&bytes);
        let is_last = index + 1 == found.len();
        // The file's name tells where it began, also when its head is no good.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let named = name.trim_start_matches("purges-").trim_end_matches(".log").parse::<u64>();
        let began = read.began.or(named.ok()).unwrap_or(recovered.sequence);
        if index == 0 || began > recovered.sequence {
            // Something lies between the segments that is not there any more.
            recovered.horizon = recovered.horizon.max(began);
        }
        let before = recovered.sequence;
        recovered.records.extend(read.records.into_iter().filter(|record| record.sequence > before));
        recovered.sequence =
            recovered.records.last().map_or(0, |record| record.sequence).max(began).max(recovered.sequence);
        if read.good < bytes.len() {
            let lost = bytes.len() - read.good;
            torn += lost as u64;
            let what = if is_last { "a torn tail, never acknowledged" } else { "damaged" };
            recovered.damage.push(format!(
                "{}: {lost} bytes from offset {} on are not used ({what}); the file can be deleted once this \
                 node has run for a while",
                path.display(),
                read.good
            ));
            if !is_last {
                // The records that were there are not known any more.
                let next = found.get(index + 1).and_then(|path| {
                    let name = path.file_name()?.to_str()?;
                    name.trim_start_matches("purges-").trim_end_matches(".log").parse::<u64>().ok()
                });
                recovered.sequence = recovered.sequence.max(next.unwrap_or_default());
                recovered.horizon = recovered.horizon.max(recovered.sequence);
            }
        }
    }
    let horizon = recovered.horizon;
    recovered.records.retain(|record| record.sequence > horizon);
    Ok((recovered, torn))
}

/// What is good in a segment.
#[derive(Debug)]
pub struct ReadSegment {
    /// The last number before its first record; none when its head is no good.
    pub began: Option<u64>,
    /// Its records up to the first that is no good.
    pub records: Vec<Record>,
    /// How many bytes they take, the head included.
    pub good: usize,
}

/// Reads a segment as far as it is good.
pub fn read_segment(bytes: &[u8]) -> ReadSegment {
    let mut read = ReadSegment { began: None, records: Vec::new(), good: 0 };
    let Some((own, mut rest)) = bytes.split_at_checked(HEAD) else { return read };
    let last = u64::from_le_bytes(own[12..20].try_into().unwrap_or_default());
    if own != head(last) {
        return read;
    }
    read.began = Some(last);
    read.good = HEAD;
    let mut before = last;
    while let Some((own, after)) = rest.split_at_checked(RECORD_HEAD) {
        let length = u32::from_le_bytes(own[..4].try_into().unwrap_or_default());
        let sequence = u64::from_le_bytes(own[4..12].try_into().unwrap_or_default());
        let sum = u64::from_le_bytes(own[12..].try_into().unwrap_or_default());
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MOST_PAYLOAD || sequence <= before {
            break;
        }
        let Some((payload, after)) = after.split_at_checked(size) else { break };
        if checksum(length, sequence, payload) != sum {
            break;
        }
        read.records.push(Record { sequence, payload: payload.to_vec() });
        read.good += RECORD_HEAD + size;
        (before, rest) = (sequence, after);
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("forebay-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn open(path: &Path) -> (Journal, Recovered) {
        // The thread of one that was dropped just now may still hold the lock.
        for _ in 0..1000 {
            match Journal::open(path, Arc::default()) {
                Err(JournalError::InUse(_)) => std::thread::yield_now(),
                other => return other.expect("a journal"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the journal stays locked");
    }

    fn append(journal: &Journal, sequence: u64) {
        let payload = format!("purge {sequence}").into_bytes();
        journal.append(Record { sequence, payload }).and_then(Appending::wait).expect("appended");
    }

    fn numbers(recovered: &Recovered) -> Vec<u64> {
        recovered.records.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let path = directory("restart");
        let (journal, recovered) = open(&path);
        assert_eq!(recovered, Recovered::default());
        [3, 4, 9].into_iter().for_each(|sequence| append(&journal, sequence));
        assert!(matches!(Journal::open(&path, Arc::default()), Err(JournalError::InUse(_))));
        drop(journal);
        for _ in 0..3 {
            let (_, recovered) = open(&path);
            assert_eq!((numbers(&recovered), recovered.sequence, recovered.horizon), (vec![3, 4, 9], 9, 0));
            assert_eq!(recovered.records[1].payload, b"purge 4");
        }
        let _ = std::fs::remove_dir_all(&path);
    }

    #[test]
    fn old_segments_go_and_the_horizon_tells() {
        let path = directory("rotate");
        let mut last = 0;
        for start in 0..SEGMENTS as u64 + 3 {
            let (journal, _) = open(&path);
            last = 10 * start + 5;
            [last - 4, last].into_iter().for_each(|sequence| append(&journal, sequence));
        }
        let (_, recovered) = open(&path);
        assert_eq!(recovered.sequence, last);
        let first = recovered.records[0].sequence;
        assert!(recovered.horizon > 0 && recovered.horizon < first, "{recovered:?}");
        assert!(segments(&path).expect("segments").len() <= SEGMENTS);
        let _ = std::fs::remove_dir_all(&path);
    }

    #[test]
    fn a_tail_torn_anywhere_loses_that_record_alone() {
        let mut whole = head(7);
        for sequence in [8, 9] {
            whole.extend(record(&Record { sequence, payload: b"payload".to_vec() }));
        }
        let last = whole.len() - RECORD_HEAD - 7;
        for end in last..whole.len() {
            let read = read_segment(&whole[..end]);
            assert_eq!((read.records.len(), read.good), (1, last), "cut at {end}");
        }
        assert_eq!(read_segment(&whole).records.len(), 2);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            for record in read_segment(&bytes).records {
                assert!(matches!(record.sequence, 8 | 9) && record.payload == b"payload", "flipped at {at}");
            }
        }
    }

    #[test]
    fn damage_in_an_older_segment_moves_the_horizon() {
        let path = directory("damage");
        let (journal, _) = open(&path);
        [1, 2, 3].into_iter().for_each(|sequence| append(&journal, sequence));
        drop(journal);
        let (journal, _) = open(&path);
        [4, 5].into_iter().for_each(|sequence| append(&journal, sequence));
        drop(journal);
        let first = &segments(&path).expect("segments")[0];
        let mut bytes = std::fs::read(first).expect("a segment");
        let middle = HEAD + RECORD_HEAD + 3;
        bytes[middle] ^= 1;
        std::fs::write(first, bytes).expect("written");
        let (_, recovered) = open(&path);
        assert_eq!((numbers(&recovered), recovered.horizon, recovered.sequence), (vec![4, 5], 3, 5));
        assert_eq!(recovered.damage.len(), 1, "{:?}", recovered.damage);
        let _ = std::fs::remove_dir_all(&path);
    }

    /// A disk that fails when told to, and keeps what was synced.
    struct Failing {
        bytes: Arc<parking_lot::Mutex<Vec<u8>>>,
        fail: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Device for Failing {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.bytes.lock().extend(bytes);
            Ok(())
        }
        fn sync(&mut self) -> io::Result<()> {
            let fails = self.fail.load(std::sync::atomic::Ordering::SeqCst);
            if fails { Err(io::Error::other("no space")) } else { Ok(()) }
        }
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.bytes.lock().truncate(usize::try_from(length).expect("small"));
            Ok(())
        }
    }

    #[test]
    fn what_could_not_be_synced_is_not_acknowledged_and_not_there() {
        let path = directory("failing");
        std::fs::create_dir_all(&path).expect("a directory");
        let bytes = Arc::new(parking_lot::Mutex::new(head(0)));
        let fail = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let device = Failing { bytes: Arc::clone(&bytes), fail: Arc::clone(&fail) };
        let segment = Segment { device: Box::new(device), length: HEAD as u64, last: 0 };
        let lock = File::create(path.join("lock")).expect("a file");
        let mut writer =
            Writer { directory: path.clone(), segment: Some(segment), counters: Arc::default(), _lock: lock };
        let mut write = |sequence| {
            let (done, _told) = mpsc::sync_channel(1);
            writer.write(&[Append { record: Record { sequence, payload: vec![1] }, done }])
        };
        assert_eq!(write(1), Ok(()));
        fail.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(matches!(write(2), Err(JournalError::Io { .. })));
        fail.store(false, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(write(3), Ok(()));
        let read = read_segment(&bytes.lock());
        assert_eq!(read.records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [1, 3]);
        let _ = std::fs::remove_dir_all(&path);
    }
}
