//! The HTTP face of a site: one TLS port for requests and for the data plane.
//!
//! ```text
//! TCP ─▶ TLS 1.3 ─▶ HTTP/1.1 ─▶ /api/v1/stream, Upgrade, certificate ─▶ a blocking link on its own thread
//!                              └▶ anything else ─▶ the site's routes
//! ```
//!
//! What is the same at both sites is here: the [`Front`] that accepts, bounds and times out connections,
//! [`Problem`]s as answers, [`Rates`] of requests, [`Body`] and [`Ask`] to read them, [`Page`]s of lists,
//! the [`guard`] before the routes with the [`journal`] of what was answered and of what happened, which
//! [`watch`] tells, and bearer [`token`]s.
//! What the routes do is the site's.
//!
//! Deliberately absent: HTTP/2, which would let one connection ask for very much at once, and any
//! knowledge of tenants, transfers or policies.
#![forbid(unsafe_code)]

mod extract;
mod front;
pub mod guard;
pub mod journal;
mod page;
mod problem;
mod rate;
pub mod token;
pub mod watch;

pub use extract::{Ask, Body, read_body};
pub use front::{Config, Front, Handoff, Peer};
pub use page::{LIMIT_MAX, Page, PageQuery};
pub use problem::Problem;
pub use rate::Rates;
