//! A relay between two nodes that swallows, cuts and damages what it forwards.
//!
//! It ends, with all its threads and sockets, when it is dropped.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Forwards connections to an address, until told otherwise.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Control {
    ended: AtomicBool,
    /// Bytes there, bytes back: swallowed while set.
    swallow: [AtomicBool; 2],
    /// A bit of the next portion there is flipped.
    flip: AtomicBool,
}

impl Relay {
    pub(super) fn to(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let control = Arc::new(Control::default());
        let thread = std::thread::spawn({
            let control = control.clone();
            move || {
                let mut threads = Vec::new();
                while let Ok((here, _)) = listener.accept() {
                    if control.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(there) = TcpStream::connect(target) else {
                        continue;
                    };
                    for stream in [&here, &there] {
                        stream
                            .set_read_timeout(Some(Duration::from_millis(20)))
                            .unwrap();
                    }
                    let ends = [(&here, &there), (&there, &here)];
                    for (direction, (from, to)) in ends.into_iter().enumerate() {
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        let control = control.clone();
                        threads.push(std::thread::spawn(move || {
                            forward(from, to, direction, &control);
                        }));
                    }
                }
                threads
                    .into_iter()
                    .for_each(|thread| thread.join().unwrap());
            }
        });
        let thread = Some(thread);
        Relay {
            address,
            control,
            thread,
        }
    }

    /// Begins or stops to swallow what goes each way.
    pub(super) fn swallow(&self, there: bool, back: bool) {
        self.control.swallow[0].store(there, Ordering::SeqCst);
        self.control.swallow[1].store(back, Ordering::SeqCst);
    }

    /// Flips a bit in the next portion that goes there.
    pub(super) fn flip(&self) {
        self.control.flip.store(true, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.control.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, direction: usize, control: &Control) {
    let mut buffer = vec![0; 64 << 10];
    while !control.ended.load(Ordering::SeqCst) {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        if direction == 0 && control.flip.swap(false, Ordering::SeqCst) {
            buffer[count - 1] ^= 4;
        }
        let swallowed = control.swallow[direction].load(Ordering::SeqCst);
        if !swallowed && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
