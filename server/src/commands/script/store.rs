//! The scripts and libraries that a group knows: a part of its replicated state.
//!
//! Scripts are known by the SHA-1 of their text. Those that EVAL brought are kept as long as there
//! are not more than [`MAX_EVALUATED`], the one that was used longest ago goes first; what SCRIPT
//! LOAD brought stays until SCRIPT FLUSH. Libraries are known by name, and no two have a function
//! of the same name.
//!
//! Nothing compiled is kept here: that is each thread's own (`engine.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};
use xxhash_rust::xxh3::xxh3_64;

use super::engine::Digest;
use crate::state::{DecodeError, Reader, put_bytes, put_varint};

/// Scripts that EVAL has brought, at most.
const MAX_EVALUATED: usize = 500;

/// What of scripts is the same on all replicas of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripts {
    scripts: BTreeMap<Digest, Script>,
    /// Counts uses, to order them.
    uses: u64,
    libraries: BTreeMap<String, Arc<Library>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Script {
    text: Arc<[u8]>,
    /// The number of the last use; `None` if it is kept whether it is used or not.
    used: Option<u64>,
}

/// A library of functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Library {
    pub(super) name: String,
    /// With its first line.
    pub(super) code: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) functions: BTreeMap<String, Described>,
}

/// What is known of a function without running anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) description: Option<String>,
    /// [`super::flags`].
    pub(super) flags: u32,
}

/// By what a text is known.
pub(super) fn digest_of(text: &[u8]) -> Digest {
    Sha1::digest(text).into()
}

impl Scripts {
    /// The text of a script.
    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.scripts.get(digest).map(|script| script.text.clone())
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.scripts.contains_key(digest)
    }

    /// Keeps a script for good.
    pub(super) fn load(&mut self, digest: Digest, text: &[u8]) {
        let text = self.get(&digest).unwrap_or_else(|| text.into());
        self.scripts.insert(digest, Script { text, used: None });
    }

    /// Notes that a script was run, and keeps it for a while if it was not known.
    pub(super) fn note_use(&mut self, digest: Digest, text: &Arc<[u8]>) {
        self.uses += 1;
        let uses = self.uses;
        match self.scripts.get_mut(&digest) {
            Some(Script { used: None, .. }) => {}
            Some(Script { used, .. }) => *used = Some(uses),
            None => {
                let (text, used) = (text.clone(), Some(uses));
                self.scripts.insert(digest, Script { text, used });
                self.evict();
            }
        }
    }

    fn evict(&mut self) {
        let evaluated = self.scripts.iter();
        let evaluated = evaluated.filter_map(|(digest, script)| Some((script.used?, *digest)));
        let evaluated: Vec<(u64, Digest)> = evaluated.collect();
        if evaluated.len() > MAX_EVALUATED
            && let Some((_, oldest)) = evaluated.iter().min()
        {
            self.scripts.remove(oldest);
        }
    }

    /// Forgets all scripts.
    pub(super) fn flush(&mut self) {
        self.scripts.clear();
    }

    /// Number of scripts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Number of libraries.
    #[must_use]
    pub fn library_count(&self) -> usize {
        self.libraries.len()
    }

    /// Number of functions in all libraries.
    #[must_use]
    pub fn functions(&self) -> usize {
        let libraries = self.libraries.values();
        libraries.map(|library| library.functions.len()).sum()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty() && self.libraries.is_empty()
    }

    /// The libraries, by name.
    pub(super) fn libraries(&self) -> impl Iterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    pub(super) fn library(&self, name: &str) -> Option<&Arc<Library>> {
        self.libraries.get(name)
    }

    /// The library that has a function of this name, and the name as it was registered. Upper and
    /// lower case do not matter, but an exact match comes first.
    pub(super) fn find(&self, function: &str) -> Option<(&Arc<Library>, &str)> {
        let exact = self.libraries.values().find_map(|library| {
            let (name, _) = library.functions.get_key_value(function)?;
            Some((library, name.as_str()))
        });
        exact.or_else(|| {
            let mut all = self.libraries.values().flat_map(|library| {
                let names = library.functions.keys();
                names.map(move |name| (library, name.as_str()))
            });
            all.find(|(_, name)| name.eq_ignore_ascii_case(function))
        })
    }

    /// Adds a library, in the place of the one of the same name if there is one. The error is the
    /// name of a function that another library has, be it in upper or lower case.
    pub(super) fn add_library(&mut self, library: Library) -> Result<(), String> {
        for function in library.functions.keys() {
            let found = self.find(function);
            if found.is_some_and(|(other, _)| other.name != library.name) {
                return Err(function.clone());
            }
        }
        self.put_library(library);
        Ok(())
    }

    fn put_library(&mut self, library: Library) {
        self.libraries
            .insert(library.name.clone(), Arc::new(library));
    }

    pub(super) fn delete_library(&mut self, name: &str) -> bool {
        self.libraries.remove(name).is_some()
    }

    pub(super) fn flush_libraries(&mut self) {
        self.libraries.clear();
    }

    /// What all of it adds up to.
    #[must_use]
    pub fn digest(&self) -> u64 {
        if self.is_empty() && self.uses == 0 {
            return 0;
        }
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        xxh3_64(&bytes)
    }

    /// Writes it for a checkpoint.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.uses);
        put_varint(out, self.scripts.len() as u64);
        for script in self.scripts.values() {
            put_varint(out, script.used.map_or(0, |used| used + 1));
            put_bytes(out, &script.text);
        }
        put_varint(out, self.libraries.len() as u64);
        for library in self.libraries.values() {
            library.put(out);
        }
    }

    /// Reads what [`Scripts::put`] wrote.
    ///
    /// # Errors
    /// It is nothing that this wrote.
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut scripts = Self {
            uses: reader.varint()?,
            ..Self::default()
        };
        for _ in 0..reader.length()? {
            let used = reader.varint()?.checked_sub(1);
            let text: Arc<[u8]> = reader.string()?.into();
            let script = Script { text, used };
            scripts.scripts.insert(digest_of(&script.text), script);
        }
        for _ in 0..reader.length()? {
            // Earlier versions told names apart by upper and lower case, so it is not asked again
            // whether another library has the same ones.
            scripts.put_library(Library::take(reader)?);
        }
        Ok(scripts)
    }
}

impl Library {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.name.as_bytes());
        put_bytes(out, &self.code);
        put_varint(out, self.functions.len() as u64);
        for (name, function) in &self.functions {
            put_bytes(out, name.as_bytes());
            put_varint(out, function.flags.into());
            out.push(u8::from(function.description.is_some()));
            put_bytes(
                out,
                function.description.as_deref().unwrap_or("").as_bytes(),
            );
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = text(reader)?;
        let code = reader.string()?.to_vec();
        let mut functions = BTreeMap::new();
        for _ in 0..reader.length()? {
            let name = text(reader)?;
            let malformed = DecodeError::Malformed(reader.at());
            let flags = u32::try_from(reader.varint()?).map_err(|_| malformed)?;
            let [is_described] = reader.array()?;
            let description = text(reader)?;
            let described = Described {
                description: (is_described == 1).then_some(description),
                flags,
            };
            functions.insert(name, described);
        }
        Ok(Self {
            name,
            digest: digest_of(&code),
            code,
            functions,
        })
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let malformed = DecodeError::Malformed(reader.at());
    let bytes = reader.string()?.to_vec();
    String::from_utf8(bytes).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(number: usize) -> Arc<[u8]> {
        format!("return {number}").into_bytes().into()
    }

    fn used(scripts: &mut Scripts, number: usize) {
        let text = text_of(number);
        scripts.note_use(digest_of(&text), &text);
    }

    #[test]
    fn the_script_that_was_used_longest_ago_goes_first() {
        let mut scripts = Scripts::default();
        scripts.load(digest_of(b"return 'kept'"), b"return 'kept'");
        for number in 0..MAX_EVALUATED {
            used(&mut scripts, number);
        }
        used(&mut scripts, 0);
        used(&mut scripts, MAX_EVALUATED);
        let has = |number| scripts.contains(&digest_of(&text_of(number)));
        assert!(has(0) && !has(1) && has(2) && has(MAX_EVALUATED));
        assert!(scripts.contains(&digest_of(b"return 'kept'")));
        assert_eq!(scripts.len(), MAX_EVALUATED + 1);
    }

    #[test]
    fn scripts_and_libraries_survive_a_checkpoint() {
        let mut scripts = Scripts::default();
        used(&mut scripts, 1);
        scripts.load(digest_of(b"return 2"), b"return 2");
        let described = |flags, description: Option<&str>| Described {
            description: description.map(str::to_owned),
            flags,
        };
        let functions = [
            ("f".to_owned(), described(0, None)),
            ("g".to_owned(), described(5, Some(""))),
        ];
        let code = b"#!lua name=a\n".to_vec();
        let library = Library {
            name: "a".to_owned(),
            digest: digest_of(&code),
            code,
            functions: functions.into(),
        };
        scripts
            .add_library(library.clone())
            .expect("no other has them");
        let other = Library {
            name: "b".to_owned(),
            ..library
        };
        assert_eq!(scripts.add_library(other), Err("f".to_owned()));
        let found = scripts
            .find("F")
            .map(|(library, name)| (&*library.name, name));
        assert_eq!(found, Some(("a", "f")));
        let mut bytes = Vec::new();
        scripts.put(&mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Scripts::take(&mut reader), Ok(scripts));
        assert!(reader.is_done());
        for len in 0..bytes.len() {
            assert!(Scripts::take(&mut Reader::new(&bytes[..len])).is_err());
        }
    }
}
