//! The layout of an entry's block, and the forms in which it holds a value.
//!
//! Not here: the block itself, and all that is unsafe about it (`entry`).

use std::alloc::Layout;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::super::value::{INLINE_MAX_BYTES, NewValue, Object, ValueRef};

/// Block sizes are multiples of this many bytes, which is what the allocator would round to.
const GRANULE_BYTES: usize = 16;
const ALIGN_BYTES: usize = 8;
const WORD_BYTES: usize = 8;

pub(super) const KIND_INT: u8 = 0;
pub(super) const KIND_STRING: u8 = 1;
pub(super) const KIND_OBJECT: u8 = 2;

pub(super) const EXPIRES: u8 = 1;

#[repr(C)]
pub(super) struct Header {
    pub(super) references: AtomicU32,
    pub(super) access: AtomicU32,
    pub(super) version: u32,
    pub(super) key_len: u32,
    pub(super) value_len: u16,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

pub(super) const HEADER_BYTES: usize = size_of::<Header>();

/// The shape of a block: everything its layout depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) key_len: usize,
    pub(super) value_len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

impl Shape {
    pub(super) fn of(key_len: usize, value: &Stored<'_>, expires: bool) -> Self {
        let (kind, value_len) = match value {
            Stored::Int(_) => (KIND_INT, 0),
            Stored::String(bytes) => (KIND_STRING, bytes.len()),
            Stored::Object(_) => (KIND_OBJECT, 0),
        };
        Self {
            key_len,
            value_len,
            kind,
            flags: if expires { EXPIRES } else { 0 },
        }
    }

    pub(super) fn word_offset(&self) -> usize {
        HEADER_BYTES
            + if self.flags & EXPIRES != 0 {
                WORD_BYTES
            } else {
                0
            }
    }

    pub(super) fn key_offset(&self) -> usize {
        self.word_offset()
            + if self.kind == KIND_STRING {
                0
            } else {
                WORD_BYTES
            }
    }

    pub(super) fn size_bytes(&self) -> usize {
        (self.key_offset() + self.key_len + self.value_len).next_multiple_of(GRANULE_BYTES)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::from_size_align(self.size_bytes(), ALIGN_BYTES)
            .expect("lengths come from slices in memory, so their sum cannot overflow isize")
    }
}

/// A value in the form in which a block holds it.
pub(super) enum Stored<'a> {
    Int(i64),
    String(&'a [u8]),
    Object(Arc<Object>),
}

impl<'a> Stored<'a> {
    pub(super) fn new(value: NewValue<'a>) -> Self {
        match value {
            NewValue::Int(number) => Self::Int(number),
            NewValue::String(bytes) if bytes.len() <= INLINE_MAX_BYTES => Self::String(bytes),
            NewValue::String(bytes) => Self::Object(Arc::new(Object::String(bytes.to_vec()))),
            NewValue::Object(object) => Self::Object(Arc::new(object)),
            NewValue::Same(entry) => match entry.header().kind {
                KIND_OBJECT => Self::Object(entry.share_object()),
                _ => match entry.value() {
                    ValueRef::Int(number) => Self::Int(number),
                    ValueRef::String(bytes) => Self::String(bytes),
                    ValueRef::Object(_) => unreachable!("KIND_OBJECT is handled above"),
                },
            },
        }
    }
}
