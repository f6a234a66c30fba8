//! How the secrets of webhooks are stored: sealed under the installation's key (XChaCha20-Poly1305), each bound to its
//! endpoint, so that whoever has only the database can neither sign nor move a secret from one endpoint to another.

use std::{fmt, sync::Arc};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac};
use people_domain::id::WorkspaceId;
use sha2::Sha256;
use uuid::Uuid;

use crate::StoreError;

const NONCE: usize = 24;

/// The installation's own key for secrets it has to read again. Without it there are no webhooks.
#[derive(Clone)]
pub struct SecretKey(Option<Arc<[u8; 32]>>);

impl SecretKey {
    /// A key for this purpose is derived from the secret given.
    pub fn new(secret: Option<&str>) -> Self {
        Self(secret.map(|secret| {
            let mut key = [0; 32];
            // HMAC takes keys of any length (RFC 2104).
            if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
                mac.update(b"people: webhook secrets");
                key.copy_from_slice(&mac.finalize().into_bytes());
            }
            Arc::new(key)
        }))
    }

    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

/// What an endpoint's requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(pub [u8; 32]);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

fn bound_to(workspace: WorkspaceId, webhook: Uuid) -> [u8; 32] {
    let mut out = [0; 32];
    out[..16].copy_from_slice(workspace.0.as_bytes());
    out[16..].copy_from_slice(webhook.as_bytes());
    out
}

/// Hex of a nonce and what was sealed. E: there is no key.
pub(crate) fn seal(key: &SecretKey, workspace: WorkspaceId, webhook: Uuid, secret: &WebhookSecret) -> Result<String, StoreError> {
    const NO_KEY: StoreError = StoreError::Unreadable("there is no key to seal a secret with");
    let key = key.0.as_ref().ok_or(NO_KEY)?;
    // Random enough (over 180 bits) that none comes twice.
    let mut nonce = [0; NONCE];
    nonce[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    nonce[16..].copy_from_slice(&Uuid::new_v4().as_bytes()[..8]);
    let aad = bound_to(workspace, webhook);
    let cipher = XChaCha20Poly1305::new(&(**key).into());
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: &secret.0, aad: &aad }).map_err(|_| NO_KEY)?;
    Ok(nonce.iter().chain(&sealed).map(|byte| format!("{byte:02x}")).collect())
}

/// E: another key, another endpoint, or not what was stored.
pub(crate) fn open(key: &SecretKey, workspace: WorkspaceId, webhook: Uuid, sealed: &str) -> Result<WebhookSecret, StoreError> {
    const UNREADABLE: StoreError = StoreError::Unreadable("the secret of a webhook: it was sealed under another PEOPLE_SECRET_KEY");
    let key = key.0.as_ref().ok_or(UNREADABLE)?;
    let bytes: Vec<u8> = (0..sealed.len() / 2)
        .map(|i| sealed.get(2 * i..2 * i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<_>>()
        .ok_or(UNREADABLE)?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or(UNREADABLE)?;
    let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| UNREADABLE)?;
    let aad = bound_to(workspace, webhook);
    let opened = XChaCha20Poly1305::new(&(**key).into())
        .decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: &aad })
        .map_err(|_| UNREADABLE)?;
    opened.try_into().map(WebhookSecret).map_err(|_| UNREADABLE)
}

#[cfg(test)]
mod tests {
    use people_domain::id::WorkspaceId;
    use uuid::Uuid;

    use super::{SecretKey, WebhookSecret, open, seal};

    #[test]
    fn a_secret_opens_for_its_endpoint_under_its_key_and_not_otherwise() {
        let (workspace, webhook, secret) = (WorkspaceId(Uuid::new_v4()), Uuid::new_v4(), WebhookSecret([7; 32]));
        let key = SecretKey::new(Some("a key of this installation, long enough"));
        let Ok(sealed) = seal(&key, workspace, webhook, &secret) else { panic!("sealed with a key") };
        assert!(open(&key, workspace, webhook, &sealed).is_ok_and(|opened| opened == secret));
        assert_ne!(seal(&key, workspace, webhook, &secret).ok().as_ref(), Some(&sealed), "no nonce comes twice");
        assert!(open(&SecretKey::new(Some("another")), workspace, webhook, &sealed).is_err());
        assert!(open(&SecretKey::new(None), workspace, webhook, &sealed).is_err());
        assert!(open(&key, workspace, Uuid::new_v4(), &sealed).is_err());
        assert!(open(&key, WorkspaceId(Uuid::new_v4()), webhook, &sealed).is_err());
        let mut bent = sealed.clone();
        let last = bent.pop();
        bent.push(if last == Some('0') { '1' } else { '0' });
        for wrong in [bent.as_str(), "", "00", "zz"] {
            assert!(open(&key, workspace, webhook, wrong).is_err());
        }
    }
}
