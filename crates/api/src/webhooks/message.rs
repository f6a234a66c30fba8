//! What is sent: the body of an event, and the headers that sign it (Standard Webhooks).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use people_domain::{
    Timestamp,
    webhook::{Payload, TEST},
};
use people_store::{Due, WebhookSecret};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use crate::changes::ChangeView;

/// A message that is ready to be sent, as often as it takes.
#[derive(Clone)]
pub struct Message {
    /// The same for every attempt at it.
    pub id: String,
    pub body: String,
    secrets: Vec<WebhookSecret>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({})", self.id)
    }
}

impl Message {
    pub fn new(id: String, body: String, secrets: &[WebhookSecret]) -> Self {
        Self { id, body, secrets: secrets.to_vec() }
    }

    /// Each secret signs, so that a receiver may know either one while it is being exchanged.
    pub fn headers(&self, at: Timestamp) -> [(&'static str, String); 3] {
        let seconds = at.micros().div_euclid(1_000_000);
        let signatures: Vec<String> = self.secrets.iter().map(|secret| signature(secret, &self.id, seconds, &self.body)).collect();
        [("webhook-id", self.id.clone()), ("webhook-timestamp", seconds.to_string()), ("webhook-signature", signatures.join(" "))]
    }
}

fn signature(secret: &WebhookSecret, id: &str, seconds: i64, body: &str) -> String {
    let mut out = [0_u8; 32];
    // HMAC takes keys of any length (RFC 2104).
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret.0) {
        for part in [id, ".", &seconds.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        out.copy_from_slice(&mac.finalize().into_bytes());
    }
    format!("v1,{}", STANDARD.encode(out))
}

/// A secret as it is shown: what the libraries of Standard Webhooks take.
pub fn shown(secret: &WebhookSecret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.0))
}

/// `webhook-id` of a change, the same whoever sends it and however often.
pub fn id_of(webhook: Uuid, seq: i64) -> String {
    format!("msg_{}_{seq}", webhook.simple())
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: ChangeView<'a>,
}

/// The body of a change.
pub fn body(due: &Due, payload: Payload) -> String {
    let event = Event { r#type: &due.change.kind, timestamp: due.change.at, data: ChangeView::of(due, payload == Payload::Full) };
    serde_json::to_string(&event).unwrap_or_default()
}

/// The body of a ping.
pub fn ping(webhook: Uuid, at: Timestamp) -> String {
    let event: Value = json!({"type": TEST, "timestamp": at, "data": {"webhook_id": webhook}});
    event.to_string()
}

#[cfg(test)]
mod tests {
    use people_domain::Timestamp;
    use people_store::WebhookSecret;

    use super::Message;

    /// Computed beside this program; the stories hold it against the public libraries.
    #[test]
    fn a_signature_is_over_id_time_and_body() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let Ok(secret) = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=") else { panic!("base64") };
        let Ok(secret) = <[u8; 32]>::try_from(secret) else { panic!("32 bytes") };
        let message =
            Message::new("msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(), r#"{"test": 2432232314}"#.to_owned(), &[WebhookSecret(secret)]);
        let at = Timestamp::from_micros(1_614_265_330_000_000).unwrap_or(Timestamp::MIN);
        let [id, timestamp, signature] = message.headers(at);
        assert_eq!((id.1.as_str(), timestamp.1.as_str()), ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"));
        assert_eq!(signature.1, "v1,455+aOk04wwxufzYeT7AdJGy67Jm9L1UV9h0WvJANVo=");
        let both = Message::new("m".to_owned(), "{}".to_owned(), &[WebhookSecret(secret), WebhookSecret([0; 32])]);
        assert_eq!(both.headers(at)[2].1.split(' ').count(), 2);
    }
}
