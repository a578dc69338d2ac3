//! The keys that nodes sign with: a node's own, and whose public key is whose.
//!
//! A key belongs to a node *with its data directory*: whoever has lost the directory is somebody
//! else to the groups, and has another key. The secret lies in a file of the data directory, made
//! at the first start, readable by its owner alone. [`KeyRing`] *pins*: the first key that is
//! introduced for a node and disk stays, so whoever comes later with another is an impostor; a key
//! that the cluster's file gives is binding for all disks of that node.
//!
//! Not here: where random bytes come from, and how keys travel
//! ([`Record::Key`](super::record::Record::Key)). A file that is damaged refuses the start; it is
//! never replaced, because other nodes have pinned what it held.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bailiwick_replication::NodeId;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::record::Member;

/// The length of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// How many keys of others are kept.
const KEYS_MAX: usize = 1 << 16;

/// What the file begins with; the secret follows in hexadecimal digits.
const FILE_HEAD: &str = "bailiwick node key 1\n";
const SECRET_BYTES: usize = 32;

/// A node's key pair.
pub struct NodeKey {
    secret: SigningKey,
}

/// The public half of a node's key. It may be any 32 bytes: those that are no key verify nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    bytes: [u8; SECRET_BYTES],
}

/// The key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It holds something else.
    #[error(
        "{0} is no node key; restore this file from a copy, or remove the whole data directory to \
         start a new node"
    )]
    Damaged(PathBuf),
    /// It holds another key than the cluster's file gives this node.
    #[error(
        "{path} holds the key {found}, but the cluster's file gives this node the key {given}, so \
         others would believe nothing that it signs; correct key in the cluster's file, or restore \
         {path} from a copy"
    )]
    NotGiven {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: PublicKey,
        /// What the cluster's file says.
        given: PublicKey,
    },
}

impl NodeKey {
    /// The key that follows from these secret bytes.
    pub fn from_secret(secret: [u8; SECRET_BYTES]) -> Self {
        Self {
            secret: SigningKey::from_bytes(&secret),
        }
    }

    /// Reads the key in this file, or creates the file with the key that `new_secret` makes, which
    /// must be from a good source of random bytes.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn open(path: &Path, new_secret: [u8; SECRET_BYTES]) -> Result<Self, KeyError> {
        match fs::read(path) {
            Ok(text) => {
                let text = String::from_utf8_lossy(&text);
                let secret = text
                    .strip_prefix(FILE_HEAD)
                    .and_then(|hex| from_hex(hex.trim_end()));
                secret
                    .map(Self::from_secret)
                    .ok_or_else(|| KeyError::Damaged(path.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, new_secret).map_err(failed("create", path))?;
                Ok(Self::from_secret(new_secret))
            }
            Err(error) => Err(failed("read", path)(error)),
        }
    }

    /// Refuses a key, from this file, that is not the one which the cluster's file gives, if any.
    ///
    /// # Errors
    /// It is another one.
    pub fn check(&self, path: &Path, given: Option<PublicKey>) -> Result<(), KeyError> {
        let found = self.public();
        match given.filter(|given| *given != found) {
            Some(given) => Err(KeyError::NotGiven {
                path: path.to_owned(),
                found,
                given,
            }),
            None => Ok(()),
        }
    }

    /// The half that others may know.
    pub fn public(&self) -> PublicKey {
        PublicKey {
            bytes: self.secret.verifying_key().to_bytes(),
        }
    }

    /// Signs a text.
    pub(super) fn sign(&self, text: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.secret.sign(text).to_bytes()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey")
            .field("public", &self.public())
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// A key in its 32 bytes.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self { bytes }
    }

    /// Reads 64 hexadecimal digits, as [`Display`](fmt::Display) writes them.
    pub fn parse(hex: &str) -> Option<Self> {
        from_hex(hex).map(Self::new)
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.bytes
    }

    /// Whether the signature of this text is by this key. Keys and signatures that have several
    /// forms are refused, so that a signature proves one author.
    pub(super) fn verifies(&self, text: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        VerifyingKey::from_bytes(&self.bytes).is_ok_and(|key| {
            key.verify_strict(text, &Signature::from_bytes(signature))
                .is_ok()
        })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// What an introduction led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduced {
    /// The key is pinned from now on.
    New,
    /// It was pinned already.
    Known,
    /// Another key is pinned for this node, which is told.
    Conflict(PublicKey),
    /// There is no room for further keys.
    Full,
}

/// Whose key is whose. Invariant: `pinned.len() <= KEYS_MAX`, and no pin contradicts `given`.
#[derive(Debug, Default)]
pub struct KeyRing {
    pinned: HashMap<Member, PublicKey>,
    /// What the cluster's file says.
    given: HashMap<NodeId, PublicKey>,
}

impl KeyRing {
    /// No keys yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a key from the cluster's file: the only one for this node, whatever its disk. Pins
    /// that contradict it are forgotten.
    pub fn give(&mut self, node: NodeId, key: PublicKey) {
        self.given.insert(node, key);
        self.pinned
            .retain(|member, pinned| member.node != node || *pinned == key);
    }

    /// Pins a key unless another is pinned, or given, for this node.
    pub fn introduce(&mut self, member: Member, key: PublicKey) -> Introduced {
        match self.check(member, key) {
            Introduced::New => {
                self.pinned.insert(member, key);
                Introduced::New
            }
            other => other,
        }
    }

    /// What [`introduce`](Self::introduce) would lead to.
    pub fn check(&self, member: Member, key: PublicKey) -> Introduced {
        match self
            .pinned
            .get(&member)
            .or_else(|| self.given.get(&member.node))
        {
            Some(other) if *other != key => Introduced::Conflict(*other),
            _ if self.pinned.contains_key(&member) => Introduced::Known,
            _ if self.pinned.len() >= KEYS_MAX => Introduced::Full,
            _ => Introduced::New,
        }
    }

    /// The key of this node with this disk.
    pub fn get(&self, member: Member) -> Option<PublicKey> {
        self.pinned
            .get(&member)
            .or_else(|| self.given.get(&member.node))
            .copied()
    }

    /// How many keys are pinned.
    pub fn len(&self) -> usize {
        self.pinned.len()
    }

    /// Whether no key is pinned.
    pub fn is_empty(&self) -> bool {
        self.pinned.is_empty()
    }
}

/// Creates the file so that after a crash it is there as a whole or not at all.
fn create(path: &Path, secret: [u8; SECRET_BYTES]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    writeln!(file, "{FILE_HEAD}{}", PublicKey::new(secret))?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        action,
        path,
        source,
    }
}

fn from_hex(hex: &str) -> Option<[u8; SECRET_BYTES]> {
    let digits = hex.as_bytes();
    if digits.len() != 2 * SECRET_BYTES {
        return None;
    }
    let mut bytes = [0; SECRET_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn member(node: u64, disk: u64) -> Member {
        Member {
            node: NodeId(node),
            disk,
        }
    }

    fn public(byte: u8) -> PublicKey {
        NodeKey::from_secret([byte; 32]).public()
    }

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("NODEKEY");
        let first = NodeKey::open(&path, [1; 32]).unwrap();
        let again = NodeKey::open(&path, [2; 32]).unwrap();
        assert_eq!(first.public(), again.public());
        assert_eq!(first.public(), public(1));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_the_clusters_file_contradicts_is_refused() {
        let (path, key) = (Path::new("NODEKEY"), NodeKey::from_secret([1; 32]));
        assert!(key.check(path, None).is_ok());
        assert!(key.check(path, Some(public(1))).is_ok());
        let error = key.check(path, Some(public(2))).unwrap_err().to_string();
        for part in [public(1).to_string(), public(2).to_string()] {
            assert!(error.contains(&part), "{error}");
        }
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("NODEKEY");
        NodeKey::open(&path, [1; 32]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for damaged in ["", &text[..text.len() - 2], &text.replace('1', "2"), "x"] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(
                NodeKey::open(&path, [3; 32]),
                Err(KeyError::Damaged(_))
            ));
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn the_first_key_of_a_node_and_disk_stays() {
        let mut ring = KeyRing::new();
        assert_eq!(ring.introduce(member(1, 7), public(1)), Introduced::New);
        assert_eq!(ring.introduce(member(1, 7), public(1)), Introduced::Known);
        assert_eq!(
            ring.introduce(member(1, 7), public(2)),
            Introduced::Conflict(public(1))
        );
        assert_eq!(ring.introduce(member(1, 8), public(2)), Introduced::New);
        assert_eq!(ring.get(member(1, 7)), Some(public(1)));
    }

    #[test]
    fn the_clusters_file_binds_all_disks_of_a_node() {
        let mut ring = KeyRing::new();
        ring.introduce(member(1, 7), public(9));
        ring.give(NodeId(1), public(1));
        assert_eq!(ring.get(member(1, 7)), Some(public(1)));
        assert_eq!(
            ring.introduce(member(1, 7), public(9)),
            Introduced::Conflict(public(1))
        );
        assert_eq!(ring.introduce(member(1, 8), public(1)), Introduced::New);
        assert_eq!(ring.get(member(2, 1)), None);
    }

    #[test]
    fn a_signature_is_good_for_one_key_and_one_text() {
        let key = NodeKey::from_secret([1; 32]);
        let signature = key.sign(b"text");
        assert!(key.public().verifies(b"text", &signature));
        assert!(!key.public().verifies(b"test", &signature));
        assert!(!public(2).verifies(b"text", &signature));
        assert!(!PublicKey::new([0xff; 32]).verifies(b"text", &signature));
        // The neutral element of the curve: a key that signs everything, if it were accepted.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut forged = [0; SIGNATURE_BYTES];
        forged[0] = 1;
        assert!(!PublicKey::new(neutral).verifies(b"text", &forged));
    }

    #[test]
    fn public_keys_read_what_they_write() {
        assert_eq!(PublicKey::parse(&public(5).to_string()), Some(public(5)));
        assert_eq!(PublicKey::parse("00"), None);
        assert_eq!(PublicKey::parse(&"+f".repeat(32)), None);
        assert_eq!(PublicKey::parse(&"é".repeat(32)), None);
    }
}
