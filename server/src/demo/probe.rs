//! What a SET and a GET cost from a region: a small client that measures once a second.
//!
//! Owns a thread for each region. It is connected to a node of its region as a user would be, and
//! for each prefix on display sets and gets a key of that prefix, which expires soon after the
//! measuring ends. Once a second means at most: answers from far away, or none, take their time.
//!
//! How it fails: a node that is gone is replaced by another one of the region; without any, or with
//! an error for an answer, the cost is a word that says so.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(1);

/// How often a waiting thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Nodes are near, so a connection that takes longer will not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than a node lets a command wait, so that it is the node that says what is wrong.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What the measured key is called behind the prefix.
const KEY: &[u8] = b"demo-probe";

/// The seconds for which it stays.
const KEY_STAYS: &[u8] = b"10";

/// The longest line and the longest value that are read as an answer.
const ANSWER_BYTES_MAX: u64 = 4096;

/// What commands cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// The times to the answers.
    Took { get: Duration, set: Duration },
    /// There was no answer, or an error; the first word of it.
    Failed(String),
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| {
            let ms = time.as_secs_f64() * 1e3;
            // Two digits, or all of a longer number.
            let decimals = usize::from(ms < 9.95) + usize::from(ms < 0.995);
            format!("{ms:.decimals$}")
        };
        match self {
            Self::Took { get, set } => write!(out, "{} / {}", ms(get), ms(set)),
            Self::Failed(word) => out.write_str(word),
        }
    }
}

/// The threads and what they have found.
pub(super) struct Probes {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// What is to be measured.
    prefixes: Mutex<Vec<Vec<u8>>>,
    /// By prefix and region.
    costs: Mutex<BTreeMap<(Vec<u8>, String), Cost>>,
}

impl Probes {
    /// Begins to measure from each of these regions, each with its nodes' addresses.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(regions: BTreeMap<String, Vec<SocketAddr>>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for (region, addresses) in regions {
            let shared = shared.clone();
            let name = format!("probe-{region}");
            let measure = move || measure(&shared, &region, &addresses);
            threads.push(thread::Builder::new().name(name).spawn(measure)?);
        }
        Ok(Self { shared, threads })
    }

    /// Measures these prefixes from now on, and forgets what was known of others.
    pub(super) fn set_prefixes(&self, prefixes: Vec<Vec<u8>>) {
        let mut costs = self.shared.costs.lock();
        costs.retain(|(prefix, _), _| prefixes.contains(prefix));
        *self.shared.prefixes.lock() = prefixes;
    }

    /// Forgets what a prefix cost, because it has moved.
    pub(super) fn forget(&self, prefix: &[u8]) {
        let mut costs = self.shared.costs.lock();
        costs.retain(|(known, _), _| known != prefix);
    }

    /// What a prefix last cost from a region, if that is known.
    pub(super) fn cost(&self, prefix: &[u8], region: &str) -> Option<Cost> {
        let place = (prefix.to_vec(), region.to_owned());
        self.shared.costs.lock().get(&place).cloned()
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // A thread that waits for an answer from afar is not worth waiting for: it ends with the
        // process, or when the answer comes.
        self.threads.retain(JoinHandle::is_finished);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// A region's thread.
fn measure(shared: &Shared, region: &str, addresses: &[SocketAddr]) {
    let mut connection = None;
    while !shared.is_over() {
        let started = Instant::now();
        let prefixes = shared.prefixes.lock().clone();
        for prefix in prefixes {
            if shared.is_over() {
                return;
            }
            let cost = cost_of(&prefix, &mut connection, addresses);
            // It may have been taken from the list meanwhile.
            let is_wanted = shared.prefixes.lock().contains(&prefix);
            if is_wanted {
                let place = (prefix, region.to_owned());
                shared.costs.lock().insert(place, cost);
            }
        }
        while started.elapsed() < PERIOD && !shared.is_over() {
            thread::sleep(LOOK);
        }
    }
}

fn cost_of(prefix: &[u8], connection: &mut Option<Connection>, addresses: &[SocketAddr]) -> Cost {
    if connection.is_none() {
        *connection = addresses
            .iter()
            .find_map(|address| Connection::open(address).ok());
    }
    let Some(open) = connection.as_mut() else {
        return Cost::Failed("no node".to_owned());
    };
    let key = [prefix, KEY].concat();
    let costs = open
        .time(&[b"SET", &key, b"v", b"EX", KEY_STAYS])
        .and_then(|set| Ok((set, open.time(&[b"GET", &key])?)));
    match costs {
        Ok((set, get)) => Cost::Took { get, set },
        Err(Trouble::Refused(word)) => Cost::Failed(word),
        Err(Trouble::Broken) => {
            *connection = None;
            Cost::Failed("no answer".to_owned())
        }
    }
}

/// Why there is no time to tell.
#[derive(Debug)]
enum Trouble {
    /// The node says so; the first word.
    Refused(String),
    /// The connection is of no use any more.
    Broken,
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: &SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The time that a command takes to be answered.
    fn time(&mut self, words: &[&[u8]]) -> Result<Duration, Trouble> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        let asked = Instant::now();
        self.stream.get_mut().write_all(&request)?;
        self.answer()?;
        Ok(asked.elapsed())
    }

    /// Reads a status, an error or a bulk string.
    fn answer(&mut self) -> Result<(), Trouble> {
        let mut line = String::new();
        let mut bounded = self.stream.by_ref().take(ANSWER_BYTES_MAX);
        bounded.read_line(&mut line)?;
        match line.split_at_checked(1) {
            Some(("+" | ":", _)) => Ok(()),
            Some(("-", text)) => {
                let word = text.split_whitespace().next().unwrap_or("ERR");
                Err(Trouble::Refused(word.to_owned()))
            }
            Some(("$", length)) => match length.trim_end().parse::<i64>() {
                Ok(-1) => Ok(()),
                Ok(length) if (0..=ANSWER_BYTES_MAX as i64).contains(&length) => {
                    let mut bytes = vec![0; length as usize + 2];
                    Ok(self.stream.read_exact(&mut bytes)?)
                }
                _ => Err(Trouble::Broken),
            },
            _ => Err(Trouble::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers every request with these bytes, SET or GET by its name.
    fn node(set: &'static [u8], get: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut chunk = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut chunk) {
                    let is_set = chunk[..count].windows(3).any(|word| word == b"SET");
                    stream.write_all(if is_set { set } else { get }).unwrap();
                }
            }
        });
        address
    }

    fn one(address: SocketAddr) -> Cost {
        cost_of(b"eu:", &mut None, &[address])
    }

    #[test]
    fn both_commands_are_timed() {
        let cost = one(node(b"+OK\r\n", b"$1\r\nv\r\n"));
        assert!(matches!(cost, Cost::Took { .. }), "{cost:?}");
    }

    #[test]
    fn an_error_is_told_by_its_word() {
        let cost = one(node(b"-CLUSTERDOWN no quorum\r\n", b""));
        assert_eq!(cost, Cost::Failed("CLUSTERDOWN".to_owned()));
        let cost = one(node(b"nonsense\r\n", b""));
        assert_eq!(cost, Cost::Failed("no answer".to_owned()));
    }

    #[test]
    fn a_node_that_is_gone_is_replaced_by_the_next() {
        // Bound, so that nobody else gets the port, but not listening.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let gone = socket.local_addr().unwrap().as_socket().unwrap();
        let addresses = [gone, node(b"+OK\r\n", b"$-1\r\n")];
        let cost = cost_of(b"", &mut None, &addresses);
        assert!(matches!(cost, Cost::Took { .. }), "{cost:?}");
        let cost = cost_of(b"", &mut None, &[gone]);
        assert_eq!(cost, Cost::Failed("no node".to_owned()));
    }

    #[test]
    fn what_is_on_display_is_measured_and_what_is_not_is_forgotten() {
        let address = node(b"+OK\r\n", b"$1\r\nv\r\n");
        let regions = BTreeMap::from([("eu".to_owned(), vec![address])]);
        let probes = Probes::start(regions).unwrap();
        probes.set_prefixes(vec![b"eu:".to_vec()]);
        while probes.cost(b"eu:", "eu").is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(probes.cost(b"us:", "eu"), None);
        probes.set_prefixes(Vec::new());
        assert_eq!(probes.cost(b"eu:", "eu"), None);
    }

    #[test]
    fn times_have_two_digits_at_least() {
        let took = |get_us, set_us| Cost::Took {
            get: Duration::from_micros(get_us),
            set: Duration::from_micros(set_us),
        };
        assert_eq!(took(42, 9_900).to_string(), "0.04 / 9.9");
        assert_eq!(took(9_960, 81_400).to_string(), "10 / 81");
    }
}
