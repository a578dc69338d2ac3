//! One HTTP/2 connection to a member of etcd, on which any number of calls are in flight.
//!
//! Calls are gRPC's simple kind: one message there, one back. The connection gives the server so
//! much credit that it never has to wait for more, and asks for nothing that would cost the server
//! time (no pushes, no pings, no compression).
//!
//! How it fails: a call that etcd refuses is an error with etcd's words; after an error of the
//! connection every further call is one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Uri, Version};
use tokio::net::TcpStream;

use super::wire;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Credit given to the server, for a stream and for the connection.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// A handle on the connection; clones share it.
#[derive(Clone)]
pub(crate) struct Channel {
    send: SendRequest<Bytes>,
    address: SocketAddr,
}

/// The head of a kind of call, made once.
#[derive(Clone)]
pub(crate) struct Call(Request<()>);

impl Channel {
    /// Connects. Must run inside a runtime, on which the connection then lives.
    ///
    /// # Errors
    /// If the member cannot be reached or speaks no HTTP/2.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let attempt = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut builder = h2::client::Builder::new();
            builder
                .initial_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .enable_push(false);
            let (send, connection) = builder.handshake::<_, Bytes>(stream).await?;
            // What goes wrong with the connection comes out of the calls on it.
            tokio::spawn(async {
                let _ = connection.await;
            });
            anyhow::Ok(Self { send, address })
        };
        tokio::time::timeout(CONNECT_TIMEOUT, attempt)
            .await
            .context("no answer")
            .and_then(|outcome| outcome)
            .with_context(|| format!("cannot connect to etcd at {address}"))
    }

    /// The head of calls of a method.
    ///
    /// # Errors
    /// If the path is none.
    pub(crate) fn method(&self, path: &str) -> Result<Call> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.address.to_string())
            .path_and_query(path)
            .build()?;
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(uri)
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())?;
        Ok(Call(request))
    }

    /// Sends a request, which `wire::finish` has ended, and returns the answer with its prefix.
    ///
    /// # Errors
    /// If etcd refuses or the connection fails.
    pub(crate) async fn call(&self, method: &Call, request: Bytes) -> Result<Bytes> {
        let mut send = self.send.clone().ready().await?;
        let (response, mut stream) = send.send_request(method.0.clone(), false)?;
        stream.send_data(request, true)?;
        let (head, mut body) = response.await?.into_parts();
        // A refusal without a message has its status here and no trailers.
        check_status(&head.headers)?;
        let mut answer = Bytes::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            answer = join(answer, part);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        check_status(&trailers)?;
        Ok(answer)
    }

    /// Who this member is and whom it follows.
    ///
    /// # Errors
    /// As `call`.
    pub(crate) async fn status(&self) -> Result<wire::Status> {
        let mut request = Vec::new();
        wire::begin(&mut request);
        wire::finish(&mut request);
        let method = self.method(wire::STATUS)?;
        let answer = self.call(&method, Bytes::from(request)).await?;
        wire::status(wire::message(&answer)?)
    }
}

/// Nearly every answer is one part, which is then not copied.
fn join(answer: Bytes, part: Bytes) -> Bytes {
    if answer.is_empty() {
        return part;
    }
    let mut joined = BytesMut::from(answer.as_ref());
    joined.extend_from_slice(&part);
    joined.freeze()
}

fn check_status(headers: &HeaderMap) -> Result<()> {
    let text = |name: &str| {
        let value = headers.get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text("grpc-status").as_deref() {
        None | Some("0") => Ok(()),
        Some(code) => bail!(
            "etcd refused (status {code}): {}",
            text("grpc-message").unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_with_its_words() {
        let mut headers = HeaderMap::new();
        assert!(check_status(&headers).is_ok());
        headers.insert("grpc-status", "0".parse().unwrap());
        assert!(check_status(&headers).is_ok());
        headers.insert("grpc-status", "14".parse().unwrap());
        headers.insert("grpc-message", "no leader".parse().unwrap());
        let error = check_status(&headers).unwrap_err().to_string();
        assert!(
            error.contains("14") && error.contains("no leader"),
            "{error}"
        );
    }

    #[test]
    fn parts_are_joined_in_order() {
        let joined = join(join(Bytes::new(), Bytes::from("ab")), Bytes::from("c"));
        assert_eq!(joined, "abc");
    }
}
