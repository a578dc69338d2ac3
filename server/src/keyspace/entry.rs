//! One key with its value, expiry and bookkeeping in a single reference-counted allocation.
//!
//! A key costs one pointer in its segment and one block of memory here; there is no separate
//! allocation for the key, for a small value or for the expiry. The block is laid out as
//!
//! ```text
//! Header (20 bytes) | expiry (8, if EXPIRES) | number or object pointer (8, by kind) | key | string
//! ```
//!
//! and its size is rounded up to `GRANULE_BYTES`, the granularity of the allocator, so a string
//! may be replaced in place by any other that needs the same number of granules.
//!
//! **Sharing.** Cloning an `Entry` shares the block. A checkpoint holds such clones, so a block may
//! be written only through `&mut Entry` *and* only while its reference count is one. Two fields are
//! exempt because they are atomic and no part of the replicated state: the count itself and the
//! access clock that feeds eviction and `OBJECT IDLETIME`.
//!
//! All `unsafe` code of the server's request path is in this file. What it relies on:
//! `key_len`, `value_len`, `kind` and `flags` describe the block's layout (`shape`) from its
//! creation to its release, except where `replace` changes them together within the same rounded
//! size.

mod shape;

use std::alloc::{alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::value::{NewValue, Object, ValueRef};
use shape::{EXPIRES, HEADER_BYTES, Header, KIND_INT, KIND_OBJECT, KIND_STRING, Shape, Stored};

/// What an entry is stamped with when it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The state machine's count of writes; WATCH compares it. Wraps around.
    pub version: u32,
    /// The access clock, in the unit that the eviction policy uses.
    pub access: u32,
}

/// A key, its value and its expiry. Clones share one block of memory.
pub struct Entry {
    block: NonNull<Header>,
}

// SAFETY: the block is written only through `&mut Entry` while it is unshared; what shared entries
// may change is atomic; and `Object` is itself Send + Sync.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl Entry {
    /// A new, unshared entry.
    #[must_use]
    pub fn new(key: &[u8], value: NewValue<'_>, expires_at_ms: Option<i64>, stamp: Stamp) -> Self {
        Self::holding(key, Stored::new(value), expires_at_ms, stamp)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: `shape` describes this block, in which the key was written at creation.
        unsafe { std::slice::from_raw_parts(self.byte_ptr(shape.key_offset()), shape.key_len) }
    }

    /// Starts to bring the entry into the cache; a later look at it then does not wait for memory.
    pub fn prefetch(&self) {
        self.prefetch_line(0);
        // The second line holds the value of a short key.
        self.prefetch_line(64);
    }

    /// Like [`Entry::prefetch`] for the reference count and the beginning of the key only.
    pub fn prefetch_header(&self) {
        self.prefetch_line(0);
    }

    #[cfg(target_arch = "x86_64")]
    fn prefetch_line(&self, offset: usize) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = self.block.as_ptr().cast::<i8>().wrapping_add(offset);
        // SAFETY: a hint; it reads nothing and cannot fault.
        unsafe { _mm_prefetch(line, _MM_HINT_T0) };
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn prefetch_line(&self, _offset: usize) {}

    /// The value.
    #[must_use]
    pub fn value(&self) -> ValueRef<'_> {
        let shape = self.shape();
        match shape.kind {
            // SAFETY: the word was written with this kind.
            KIND_INT => ValueRef::Int(unsafe { self.read_word(shape.word_offset()) } as i64),
            KIND_STRING => {
                let place = self.byte_ptr(shape.key_offset() + shape.key_len);
                // SAFETY: the string stands behind the key and has this length.
                let bytes = unsafe { std::slice::from_raw_parts(place, shape.value_len) };
                ValueRef::String(bytes)
            }
            // SAFETY: the word of this kind is a pointer from `Arc::into_raw`, and the block keeps
            // one count of it as long as it lives.
            _ => ValueRef::Object(unsafe { &*self.object_ptr(shape) }),
        }
    }

    /// When the key expires, in milliseconds of log time; `None` when it does not.
    #[must_use]
    pub fn expires_at_ms(&self) -> Option<i64> {
        // SAFETY: with this flag the expiry stands right behind the header.
        (self.header().flags & EXPIRES != 0).then(|| unsafe { self.read_word(HEADER_BYTES) } as i64)
    }

    /// Whether the key has expired at `now_ms`. Redis expires a key *after* its last millisecond.
    #[must_use]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at_ms().is_some_and(|at_ms| at_ms < now_ms)
    }

    /// The stamp of the last write.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.header().version
    }

    /// What a checkpoint keeps of the entry's history.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp {
            version: self.version(),
            access: self.access(),
        }
    }

    /// The access clock at the last access.
    #[must_use]
    pub fn access(&self) -> u32 {
        self.header().access.load(Ordering::Relaxed)
    }

    /// Sets the access clock; allowed on a shared entry.
    pub fn set_access(&self, access: u32) {
        let cell = &self.header().access;
        // A store would pull the cache line over even if nothing changes.
        if cell.load(Ordering::Relaxed) != access {
            cell.store(access, Ordering::Relaxed);
        }
    }

    /// Bytes of memory this entry takes, its object included. Constant time.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let object = match self.value() {
            ValueRef::Object(object) => object.memory_bytes(),
            _ => 0,
        };
        self.shape().size_bytes() + object
    }

    /// Whether releasing the entry takes so long that a command should not wait for it.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        match self.value() {
            ValueRef::Object(object) => object.is_heavy(),
            ValueRef::Int(_) | ValueRef::String(_) => false,
        }
    }

    /// Replaces value and expiry, in place if the block is unshared and has the right size.
    pub fn replace(&mut self, value: NewValue<'_>, expires_at_ms: Option<i64>, stamp: Stamp) {
        let stored = Stored::new(value);
        let shape = Shape::of(self.shape().key_len, &stored, expires_at_ms.is_some());
        let old = self.shape();
        let fits = shape.size_bytes() == old.size_bytes()
            && shape.key_offset() == old.key_offset()
            && self.is_unshared();
        if !fits {
            *self = Self::holding(self.key(), stored, expires_at_ms, stamp);
            return;
        }
        // SAFETY: unshared, and the key stays where it is because its offset does not change;
        // the old object, if any, is released before its word is overwritten.
        unsafe {
            self.drop_object();
            let header = self.block.as_mut();
            header.value_len = shape.value_len as u16;
            header.kind = shape.kind;
            header.flags = shape.flags;
            header.version = stamp.version;
            self.write_body(shape, stored, expires_at_ms);
        }
        self.set_access(stamp.access);
    }

    /// Gives the object of this entry for editing, making it unshared first; `None` when the value
    /// is kept inline. Who does edit it follows up with [`Entry::set_version`].
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        if self.header().kind != KIND_OBJECT {
            return None;
        }
        if !self.is_unshared() {
            let object = Stored::Object(self.share_object());
            *self = Self::holding(self.key(), object, self.expires_at_ms(), self.stamp());
        }
        let shape = self.shape();
        // SAFETY: the block is unshared and we hold `&mut self`. The Arc in it may still be shared
        // with another block (an older clone): it is taken out, made unique, and put back.
        unsafe {
            let mut object = Arc::from_raw(self.object_ptr(shape));
            Arc::make_mut(&mut object);
            let raw = Arc::into_raw(object);
            self.write_word(shape.word_offset(), raw as u64);
            Some(&mut *raw.cast_mut())
        }
    }

    /// Stamps an entry that has just been edited. Panics if it is shared.
    pub fn set_version(&mut self, version: u32) {
        assert!(self.is_unshared(), "an edited entry is its owner's alone");
        // SAFETY: unshared, and we hold `&mut self`.
        unsafe { self.block.as_mut().version = version };
    }

    fn holding(key: &[u8], value: Stored<'_>, expires_at_ms: Option<i64>, stamp: Stamp) -> Self {
        let key_len = u32::try_from(key.len()).expect("a request is shorter than 4 GiB");
        let shape = Shape::of(key.len(), &value, expires_at_ms.is_some());
        let layout = shape.layout();
        // SAFETY: the layout is never empty, it holds at least the header.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }.cast::<Header>()) else {
            handle_alloc_error(layout)
        };
        let header = Header {
            references: AtomicU32::new(1),
            access: AtomicU32::new(stamp.access),
            version: stamp.version,
            key_len,
            value_len: shape.value_len as u16,
            kind: shape.kind,
            flags: shape.flags,
        };
        // SAFETY: the block is as large as `shape` says, aligned for a header, and ours alone;
        // the key's place lies inside it.
        unsafe {
            block.as_ptr().write(header);
            let key_place = block.as_ptr().cast::<u8>().add(shape.key_offset());
            ptr::copy_nonoverlapping(key.as_ptr(), key_place, key.len());
        }
        let mut entry = Self { block };
        // SAFETY: the block is new, so no old object is overwritten, and has `shape`.
        unsafe { entry.write_body(shape, value, expires_at_ms) };
        entry
    }

    fn header(&self) -> &Header {
        // SAFETY: the block lives as long as the entry; its plain fields change only through
        // `&mut Entry`.
        unsafe { self.block.as_ref() }
    }

    fn shape(&self) -> Shape {
        let header = self.header();
        Shape {
            key_len: header.key_len as usize,
            value_len: usize::from(header.value_len),
            kind: header.kind,
            flags: header.flags,
        }
    }

    fn is_unshared(&self) -> bool {
        // Acquire pairs with the release in `drop`: what another owner did with the block has
        // happened before we write to it.
        self.header().references.load(Ordering::Acquire) == 1
    }

    fn byte_ptr(&self, offset: usize) -> *mut u8 {
        // SAFETY: callers pass offsets that their shape places inside the block.
        unsafe { self.block.as_ptr().cast::<u8>().add(offset) }
    }

    /// # Safety
    /// A word must have been written at `offset`.
    unsafe fn read_word(&self, offset: usize) -> u64 {
        // SAFETY: by contract; words are not aligned in a block.
        unsafe { self.byte_ptr(offset).cast::<u64>().read_unaligned() }
    }

    /// # Safety
    /// The block must be unshared and have place for a word at `offset`.
    unsafe fn write_word(&mut self, offset: usize, word: u64) {
        // SAFETY: by contract.
        unsafe { self.byte_ptr(offset).cast::<u64>().write_unaligned(word) }
    }

    /// Writes expiry and value; the header must already say `shape`.
    ///
    /// # Safety
    /// The block must be unshared, have the size of `shape`, and own no object.
    unsafe fn write_body(&mut self, shape: Shape, value: Stored<'_>, expires_at_ms: Option<i64>) {
        // SAFETY: by contract, and `shape` places everything inside the block. A string argument
        // borrows from elsewhere, never from this block, which is borrowed mutably.
        unsafe {
            if let Some(at_ms) = expires_at_ms {
                self.write_word(HEADER_BYTES, at_ms as u64);
            }
            match value {
                Stored::Int(number) => self.write_word(shape.word_offset(), number as u64),
                Stored::Object(object) => {
                    self.write_word(shape.word_offset(), Arc::into_raw(object) as u64);
                }
                Stored::String(bytes) => ptr::copy_nonoverlapping(
                    bytes.as_ptr(),
                    self.byte_ptr(shape.key_offset() + shape.key_len),
                    bytes.len(),
                ),
            }
        }
    }

    fn object_ptr(&self, shape: Shape) -> *const Object {
        // SAFETY: only called for KIND_OBJECT, whose word is such a pointer.
        unsafe { self.read_word(shape.word_offset()) as *const Object }
    }

    fn share_object(&self) -> Arc<Object> {
        let pointer = self.object_ptr(self.shape());
        // SAFETY: the pointer came from `Arc::into_raw` and the block keeps its own count.
        unsafe {
            Arc::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        }
    }

    /// # Safety
    /// The block must be unshared, and its object word must not be read again.
    unsafe fn drop_object(&mut self) {
        let shape = self.shape();
        if shape.kind == KIND_OBJECT {
            // SAFETY: the block owns one count of the object and gives it up here.
            drop(unsafe { Arc::from_raw(self.object_ptr(shape)) });
        }
    }
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        // Relaxed is enough to take another count of a block that is already held (as in Arc).
        let before = self.header().references.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "entry shared {before} times");
        Self { block: self.block }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.header().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let layout = self.shape().layout();
        // SAFETY: this was the last owner; the layout is the one it was allocated with.
        unsafe {
            self.drop_object();
            dealloc(self.block.as_ptr().cast(), layout);
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("key", &String::from_utf8_lossy(self.key()))
            .field("value", &self.value())
            .field("expires_at_ms", &self.expires_at_ms())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
