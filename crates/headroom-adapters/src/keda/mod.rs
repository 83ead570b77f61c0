//! KEDA's external scalers: their protocol, and headroom as one.
//!
//! The client, which makes a source of any such scaler, is [`source::keda`](crate::source::keda).

#[expect(missing_docs, clippy::allow_attributes, reason = "the generator writes it so")]
#[rustfmt::skip]
pub mod externalscaler;
pub mod server;
