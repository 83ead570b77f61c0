//! API and page.
