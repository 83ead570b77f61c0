//! News that another task measures: the balancer's figures.

use async_trait::async_trait;
use headroom_engine::ports::{News, Source};
use tokio::sync::mpsc;

/// A source that passes on what it is sent.
#[derive(Debug)]
pub struct ChannelSource {
    name: &'static str,
    news: mpsc::Receiver<News>,
}

impl ChannelSource {
    /// A source called `name` in findings.
    #[must_use]
    pub fn new(name: &'static str, news: mpsc::Receiver<News>) -> Self {
        Self { name, news }
    }
}

#[async_trait]
impl Source for ChannelSource {
    fn name(&self) -> &str {
        self.name
    }

    async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}
