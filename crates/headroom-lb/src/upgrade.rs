//! A connection that has become a tunnel (WebSocket): bytes both ways until either end closes.

use std::{future::Future, io, pin::pin, rc::Rc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use crate::{
    downstream::Stream, limits::Deadline, pool::Upstream, prefixed::Prefixed, service::LocalService,
};

/// Most bytes read at once each way.
const BUFFER: usize = 16 * 1024;

/// Passes bytes both ways until both ends have closed, either breaks off, none says anything for
/// `idle`, or the service is stopped.
pub(crate) async fn tunnel<S: Stream>(
    client: Prefixed<S>,
    mut upstream: Upstream,
    idle: Duration,
    service: &Rc<LocalService>,
) {
    if service.is_closed() {
        return;
    }
    let ahead = std::mem::take(&mut upstream.inbuf);
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (from_backend, mut to_backend) = upstream.stream.split();
    let mut from_backend = Prefixed::new(ahead, from_backend);
    let last = std::cell::Cell::new(Instant::now());
    let mut both = pin!(async {
        tokio::try_join!(
            copy(&mut from_client, &mut to_backend, &last),
            copy(&mut from_backend, &mut to_client, &last)
        )
    });
    let mut deadline = Deadline::after(idle);
    let mut closing = pin!(service.closing.notified());
    std::future::poll_fn(|cx| {
        let over = both.as_mut().poll(cx).is_ready() || closing.as_mut().poll(cx).is_ready();
        deadline.set(last.get(), idle);
        if over || deadline.poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: &std::cell::Cell<Instant>,
) -> io::Result<()> {
    let mut buf = BytesMut::with_capacity(BUFFER);
    loop {
        buf.clear();
        let n = from.read_buf(&mut buf).await?;
        last.set(Instant::now());
        if n == 0 {
            // The other way may still have something to say.
            return to.shutdown().await;
        }
        to.write_all(&buf).await?;
        to.flush().await?;
    }
}
