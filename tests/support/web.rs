//! HTTP/1.1 as far as tests need it: one message after another on a connection, with a body of a stated length or in
//! chunks.

use std::io;

use serde_json::Value;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Its first line.
    pub start: String,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// Without its chunks' frames.
    pub body: Vec<u8>,
}

impl Message {
    /// The next one of a connection; nothing when it was closed before one began.
    pub async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut message = Self { start: line(from).await?, ..Self::default() };
        if message.start.is_empty() {
            return Ok(None);
        }
        loop {
            let line = line(from).await?;
            let Some((name, value)) = line.split_once(':') else { break };
            message.headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        if message.header("transfer-encoding").is_some_and(|it| it.contains("chunked")) {
            loop {
                let size = usize::from_str_radix(&line(from).await?, 16).map_err(invalid)?;
                message.take(from, size).await?;
                line(from).await?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = message.header("content-length") {
            let length = length.parse().map_err(invalid)?;
            message.take(from, length).await?;
        }
        Ok(Some(message))
    }

    /// The `grpc-status` of an answer by gRPC-Web: from its headers when it is a refusal only, else from its end.
    pub fn grpc_status(&self) -> String {
        let text = self.text();
        let trailer = text.split("grpc-status:").nth(1).and_then(|it| it.lines().next());
        self.header("grpc-status").or(trailer).unwrap_or_default().trim().to_owned()
    }

    async fn take(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin),
        size: usize,
    ) -> io::Result<()> {
        let held = self.body.len();
        self.body.resize(held + size, 0);
        from.read_exact(&mut self.body[held..]).await.map(drop)
    }

    /// Writes it; its body has a stated length then.
    pub async fn write(&self, to: &mut TcpStream) -> io::Result<()> {
        let framing = ["transfer-encoding", "content-length"];
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in self.headers.iter().filter(|it| !framing.contains(&it.0.as_str())) {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("content-length: {}\r\n\r\n", self.body.len());
        to.write_all(&[text.as_bytes(), &self.body].concat()).await
    }

    /// The first header of a name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    /// Status of a response.
    pub fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|it| it.parse().ok());
        status.expect("a response has a status")
    }

    /// Its body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A line without its end; empty at the end of the stream.
async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

fn invalid(error: std::num::ParseIntError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A client with a connection of its own, made when it is needed.
#[derive(Debug)]
pub struct Web {
    address: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Web {
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), connection: None }
    }

    /// Sends a request and waits for its answer. An error ends the connection.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Message> {
        let host = [("host".to_owned(), self.address.clone())];
        let more = headers.iter().map(|it| (it.0.to_owned(), it.1.to_owned()));
        let request = Message {
            start: format!("{method} {path} HTTP/1.1"),
            headers: host.into_iter().chain(more).collect(),
            body: body.to_vec(),
        };
        self.send(&request).await
    }

    /// The same for a request that is at hand.
    pub async fn send(&mut self, request: &Message) -> io::Result<Message> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.address).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        request.write(connection.get_mut()).await?;
        let answer = Message::read(&mut connection).await?;
        let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}
