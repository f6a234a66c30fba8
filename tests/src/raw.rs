//! HTTP by hand: requests that no well-behaved client would send, byte for byte as the story gives them.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An answer as it came off the wire, with the chunks put together.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request and reads the answer to its end. `target` goes on the request line as it is. The server may
/// answer and close before it has read the whole body, which counts as an answer.
///
/// E: nothing came back that is HTTP.
pub async fn raw_request(base: &str, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Result<RawAnswer, String> {
    let address = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")) {
        head += &format!("content-length: {}\r\n", body.len());
    }
    head += "\r\n";
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    let (mut reader, mut writer) = stream.split();
    let mut bytes = Vec::new();
    // Writing and reading at once: a server that refuses early stops reading, and its answer must not be missed.
    let (_, read) = tokio::join!(async { writer.write_all(&request).await }, read_all(&mut reader, &mut bytes));
    if bytes.is_empty() {
        return Err(format!("the connection closed without an answer ({read:?})"));
    }
    parse(&bytes).ok_or_else(|| format!("not HTTP: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)])))
}

async fn read_all(reader: &mut (impl tokio::io::AsyncRead + Unpin), bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match tokio::time::timeout(std::time::Duration::from_secs(30), reader.read(&mut buffer)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(read)) => bytes.extend_from_slice(&buffer[..read]),
            Ok(Err(e)) => return Err(e),
            Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<RawAnswer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned())).collect();
    let rest = &bytes[end + 4..];
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v.contains("chunked"));
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    Some(RawAnswer { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 4 + size..)?;
    }
}
