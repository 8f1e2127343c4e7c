//! The control interface, which offers JSON over HTTP to programs written in other languages.
//!
//! A `POST /NAME` request runs the command NAME. The request body is an object that contains the
//! command's arguments. The response contains the command's result.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::faults::Fault;
use super::handle::{BOT, GitHub};
use super::inner::FakeInner;
use super::outbox::DeliveryFault;
use super::person::Repository;
use super::repo::Object;
use super::server::{Answers, Payload, read};

/// The control interface of a fake GitHub server.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) Arc<FakeInner>);

impl Answers for Control {
    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Payload>> {
        let github = GitHub { shared: self.0 };
        let command = request.uri().path().trim_start_matches('/').to_string();
        let body = read(request.into_body()).await.unwrap_or_default();
        let arguments = if body.is_empty() { Ok(json!({})) } else { serde_json::from_slice(&body) };
        let result = match arguments {
            Ok(_) if command == "settle" => {
                github.settle().await;
                Ok(json!({ "lost": github.lost() }))
            }
            Ok(arguments) => run(&github, &command, &Arguments(arguments)),
            Err(error) => Err(format!("the body is not JSON: {error}")),
        };
        let (status, value) = match result {
            Ok(value) => (200, value),
            Err(error) => (400, json!({ "error": error })),
        };
        let data = Some(Bytes::from(value.to_string() + "\n"));
        let reply = Response::builder().status(status).header("content-type", "application/json");
        reply.body(Payload { data, broken: false }).map_err(io::Error::other)
    }
}

type Outcome = Result<Value, String>;

/// A command's arguments.
struct Arguments(Value);

impl Arguments {
    fn text(&self, name: &str) -> Result<&str, String> {
        self.0[name].as_str().ok_or_else(|| format!("`{name}` must be a string"))
    }

    fn text_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0[name].as_str().unwrap_or(default)
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        self.0[name].as_u64().ok_or_else(|| format!("`{name}` must be a number"))
    }

    fn number_or(&self, name: &str, default: u32) -> u32 {
        self.0[name].as_u64().and_then(|number| number.try_into().ok()).unwrap_or(default)
    }

    fn truth(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    fn time(&self, name: &str) -> Result<Duration, String> {
        self.number(name).map(Duration::from_millis)
    }

    fn repo(&self, github: &GitHub) -> Result<Repository, String> {
        let name = self.text("repo")?;
        github.repository(name).ok_or_else(|| format!("there is no repository `{name}`"))
    }
}

/// Runs a command. Times are in milliseconds.
fn run(github: &GitHub, command: &str, arguments: &Arguments) -> Outcome {
    let a = arguments;
    Ok(match command {
        "token" => {
            let life = a.time("life").ok();
            json!(github.token_of(a.text_or("login", BOT), life, a.truth("read_only")))
        }
        "create" => json!(github.create(a.text("repo")?).head("master")),
        "app" => json!({ "id": github.create_app(a.text_or("slug", "datakit")), "key": github.app_key() }),
        "app_hook" => {
            let events: Vec<&str> = a.0["events"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            json!(github.set_app_hook(a.number("app")?, a.text("url")?, a.text_or("secret", ""), &events))
        }
        "permission" => json!(github.set_permission(a.number("app")?, a.text("name")?, a.0["level"].as_str())),
        "install" => match a.0["repo"].is_string() {
            true => json!(github.install(a.number("app")?, a.text("account")?, Some(&[&a.repo(github)?]))),
            false => json!(github.install(a.number("app")?, a.text("account")?, None)),
        },
        "uninstall" => json!(github.uninstall(a.number("installation")?)),
        "fault" => {
            let times = a.number_or("times", 1);
            json!(github.fault_after(a.number_or("skip", 0), a.text("calls")?, fault(a)?, times))
        }
        "fault_delivery" => {
            let times = a.number_or("times", 1);
            json!(github.fault_delivery(a.text_or("event", "*"), delivery_fault(a)?, times))
        }
        "heal" => json!(github.heal()),
        "limit" => {
            github.limit(a.number_or("hourly", 5000));
            json!(github.limit_points(a.0["points"].as_u64().and_then(|points| points.try_into().ok())))
        }
        "exhaust" => json!(github.exhaust(a.number_or("left", 0), a.time("time")?)),
        "advance" => json!(github.advance(a.time("time")?)),
        "used" => json!(github.used()),
        "counts" => json!(github.counts()),
        "calls" => github.calls().into_iter().map(|call| json!({
            "route": call.route, "target": call.target, "status": call.status, "login": call.login, "body": call.body,
        })).collect(),
        "forget_calls" => json!(github.forget_calls()),
        "deliveries" => github.deliveries().into_iter().map(|one| json!({
            "hook": one.hook, "event": one.event, "id": one.id, "status": one.outcome.as_ref().ok(), "error": one.outcome.as_ref().err(),
        })).collect(),
        _ => return on_repository(&a.repo(github)?, command, a),
    })
}

/// Runs a command that corresponds to an action on a repository's web page.
fn on_repository(repo: &Repository, command: &str, a: &Arguments) -> Outcome {
    Ok(match command {
        "commit" => {
            let parents: Vec<&str> =
                a.0["parents"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            json!(repo.commit(&parents, a.text_or("message", "Change")))
        }
        "head" => json!(repo.head(a.text("branch")?)),
        "push" => json!(repo.push(a.text("branch")?, a.text_or("message", "Change"))),
        "set_ref" => {
            let object =
                Object { kind: a.text_or("kind", "commit").into(), sha: a.text("sha")?.into() };
            json!(repo.set_ref(a.text("ref")?, object))
        }
        "delete_ref" => json!(repo.delete_ref(a.text("ref")?)),
        "tag" => json!(repo.tag(
            a.text("name")?,
            Object::commit(a.text("sha")?),
            a.text_or("message", "Tag")
        )),
        "open_pull" => {
            let (branch, base) = (a.text("branch")?, a.text_or("base", "master"));
            for name in [branch, base] {
                repo.head(name).ok_or_else(|| format!("there is no branch `{name}`"))?;
            }
            json!(repo.open_pull(a.text_or("login", "octocat"), a.text("title")?, branch, base))
        }
        "edit_pull" => {
            let number = a.number("number")?;
            if let Ok(title) = a.text("title") {
                repo.set_title(number, title);
            }
            if let Ok(body) = a.text("body") {
                repo.set_body(number, body);
            }
            if let Ok(base) = a.text("base") {
                repo.set_base(number, base);
            }
            Value::Null
        }
        "close_pull" => json!(repo.close_pull(a.number("number")?)),
        "reopen_pull" => json!(repo.reopen_pull(a.number("number")?)),
        "comment" => {
            json!(repo.comment(a.number("number")?, a.text_or("login", "octocat"), a.text("body")?))
        }
        "status" => json!(repo.set_status(
            a.text("sha")?,
            a.text_or("context", "default"),
            a.text("state")?,
            a.0["description"].as_str(),
            a.0["target_url"].as_str(),
        )),
        "rename" => json!(repo.rename(a.text("name")?)),
        "private" => json!(repo.set_private(a.truth("private"))),
        "member" => json!(repo.set_member(a.text("login")?, a.truth("member"))),
        "remove" => json!(repo.clone().remove()),
        other => return Err(format!("there is no command `{other}`")),
    })
}

fn fault(a: &Arguments) -> Result<Fault, String> {
    Ok(match a.text("fault")? {
        "status" => Fault::Status(a.number_or("status", 502) as u16),
        "abuse" => Fault::Abuse {
            status: a.number_or("status", 403) as u16,
            retry_after: a.0["retry_after"].as_u64().and_then(|seconds| seconds.try_into().ok()),
        },
        "close" => Fault::Close,
        "hang" => Fault::Hang,
        "slow" => Fault::Slow(a.time("time")?),
        "lost" => Fault::Lost,
        "cut" => Fault::Cut,
        "half_body" => Fault::HalfBody,
        other => return Err(format!("there is no fault `{other}`")),
    })
}

fn delivery_fault(a: &Arguments) -> Result<DeliveryFault, String> {
    Ok(match a.text("fault")? {
        "drop" => DeliveryFault::Drop,
        "double" => DeliveryFault::Double,
        "swap" => DeliveryFault::Swap,
        "delay" => DeliveryFault::Delay(a.time("time")?),
        "bad_signature" => DeliveryFault::BadSignature,
        other => return Err(format!("there is no fault `{other}` of deliveries")),
    })
}
