//! Mail, over a connection that is kept secret or is not.

use std::sync::Arc;

use headroom_core::alert::State;
use headroom_engine::ports::TellError;
use headroom_testkit::receiver::SmtpSink;
use rustls::pki_types::PrivateKeyDer;

use crate::support::{example, notification, open};

/// What a server for `localhost` needs, and the authority to trust for it.
fn certificate() -> (Arc<rustls::ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), made.cert.pem())
}

#[tokio::test]
async fn mail_is_sent_as_its_page_says() {
    let (config, ca) = certificate();
    let (server, folder) = (SmtpSink::start(Some(config)).await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("smtp.password"), "hunter2\n").unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
    let address = format!("localhost:{}\n          ca: ca.pem", server.address().port());
    let fleet = example("email", &[("smtp.example.com:587", &address)]);
    let notifier = open(&fleet, "mail", folder.path());
    notifier.tell(&notification(&[State::Raised])).await.unwrap();
    notifier.tell(&notification(&[State::Resolved])).await.unwrap();
    let mails = server.until(|all| all.len() == 2).await;
    let first = &mails[0];
    assert!(first.secret, "the password and the message went over TLS");
    assert!(first.login.is_some());
    assert_eq!(
        (first.from.as_str(), first.to.as_slice()),
        ("headroom@example.com", &["ops@example.com".to_owned()][..])
    );
    for part in [
        "Subject: [medium] web: at its maximum",
        "31 replicas are <wanted>",
        "Cost: 1.2 USD/h now",
        "https://headroom.example/#/d/web-17",
        "Message-ID: <web-at-maximum-0.raised.",
    ] {
        assert!(first.text.contains(part), "{part:?} is not in {}", first.text);
    }
    let thread = "In-Reply-To: <web-at-maximum-0.first@shop.headroom>";
    assert!(mails.iter().all(|mail| mail.text.contains(thread)), "{mails:?}");
}

#[tokio::test]
async fn without_tls_nothing_is_sent_and_nothing_is_said_of_the_password() {
    let (server, folder) = (SmtpSink::start(None).await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("smtp.password"), "hunter2\n").unwrap();
    let address = server.address().to_string();
    let fleet = example("email", &[("smtp.example.com:587", &address)]);
    let notifier = open(&fleet, "mail", folder.path());
    let error = notifier.tell(&notification(&[State::Raised])).await.unwrap_err();
    assert!(matches!(&error, TellError::Later(why) if !why.contains("hunter2")), "{error}");
}

#[tokio::test]
async fn a_relay_on_this_machine_needs_no_tls() {
    let server = SmtpSink::start(None).await;
    let address = format!("{}\n          tls: none", server.address());
    let auth = "          auth: { user: headroom, password: { file: smtp.password } }\n";
    let fleet = example("email", &[("smtp.example.com:587", &address), (auth, "")]);
    let notifier = open(&fleet, "mail", std::path::Path::new("/"));
    notifier.tell(&notification(&[State::Raised, State::Resolved])).await.unwrap();
    let mails = server.until(|all| all.len() == 1).await;
    assert!(mails[0].text.contains("Subject: 2 alerts of `shop`"), "{}", mails[0].text);
}
