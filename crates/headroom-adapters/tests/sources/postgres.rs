//! PostgreSQL, the real one: the example of its page, what its answers become, the past, passwords and TLS.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use headroom_adapters::source::recall::Recall;
use headroom_core::fleet::Fleet;
use headroom_core::outlook::History;
use headroom_core::reading::Absence;
use headroom_engine::driver::now;
use headroom_engine::ports::{News, Source as _};
use headroom_testkit::source::{Behaviour, Faulty};

use crate::server::{Server, free_port, skip_real};
use crate::support::{example, http_answer, open, policy, run, until, until_value, write};
use crate::tls::Authority;

/// A server with a database `headroom`; its user `postgres` has the password `hunter2`, which is asked for where `auth` says
/// so.
struct Database {
    port: u16,
    _server: Server,
}

impl Database {
    async fn start(folder: &Path, auth: &str, settings: &[&str]) -> Self {
        let data = folder.join("db");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let password = folder.join("password");
        write(&password, "hunter2\n");
        own(&[&data, &password]);
        let d = data.display().to_string();
        let pwfile = format!("--pwfile={}", password.display());
        let auth = format!("--auth={auth}");
        let made = as_postgres(
            "initdb",
            &["-D", &d, "-U", "postgres", &auth, &pwfile, "-E", "UTF8", "--no-locale", "--no-sync"],
        );
        let arguments: Vec<&str> = made[1..].iter().map(String::as_str).collect();
        let made = std::process::Command::new(&made[0]).args(&arguments).current_dir("/").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (port, log) = (free_port(), folder.join("log"));
        let p = port.to_string();
        let fixed = ["-D", &d, "-p", &p, "-h", "127.0.0.1", "-k", &d, "-c", "fsync=off"];
        let command = as_postgres("postgres", &[&fixed, settings].concat());
        let arguments: Vec<&str> = command[1..].iter().map(String::as_str).collect();
        let mut server = Server::start(&command[0], &arguments, &[], &log);
        server.listens(port, &log).await;
        let database = Self { port, _server: server };
        database.psql("postgres", "create database headroom");
        database
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn psql(&self, database: &str, sql: &str) {
        let port = self.port.to_string();
        let words = ["-qh", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database, "-c", sql];
        let begun = Instant::now();
        let done = || {
            let mut psql = std::process::Command::new("psql");
            psql.args(words).env("PGPASSWORD", "hunter2").output().unwrap().status.success()
        };
        // It listens a moment before it takes connections.
        while !done() {
            assert!(begun.elapsed().as_secs() < 60, "psql: {sql}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Gives files to the user that PostgreSQL runs as, which is never root.
fn own(files: &[&PathBuf]) {
    if rustix::process::geteuid().is_root() {
        for file in files {
            run("chown", &["postgres:", &file.display().to_string()]);
        }
    }
}

/// The command that runs a program of PostgreSQL's.
fn as_postgres(name: &str, arguments: &[&str]) -> Vec<String> {
    let bin = std::fs::read_dir("/usr/lib/postgresql")
        .ok()
        .and_then(|all| all.filter_map(Result::ok).map(|e| e.path().join("bin")).max())
        .expect("PostgreSQL is installed; HEADROOM_SKIP_REAL=1 leaves this test out");
    let user: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"],
        false => &[],
    };
    let program = bin.join(name).display().to_string();
    [user, &[&program], arguments].concat().iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn postgres_is_read_as_its_page_says() {
    if skip_real("PostgreSQL") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = Database::start(folder.path(), "trust", &[]).await;
    database
        .psql("headroom", "create table jobs (created_at timestamptz default now(), locked_at timestamptz)");
    // Five wait now; of the last 3 days there are two in each five minutes, but none for six hours.
    database.psql(
        "headroom",
        "insert into jobs (locked_at) select case when n > 5 then now() end from generate_series(1, 8) n;
         insert into jobs select s + o, s + o
         from generate_series(to_timestamp(floor(extract(epoch from now()) / 300) * 300) - interval '3 days',
           now() - interval '10 minutes', '5 minutes') s, unnest(array[interval '1 minute', '2 minutes']) o
         where s not between now() - interval '30 hours' and now() - interval '24 hours'",
    );
    let fleet = example("postgres", &[("127.0.0.1:5432", &database.address())]);
    let history = recall(&fleet, "arriving", folder.path()).await.unwrap();
    let known = history.steps.iter().filter_map(|step| step.map(|level| level.get()));
    let known: Vec<f64> = known.collect();
    assert!(history.steps[..10 * 288].iter().all(Option::is_none), "before the first job nothing is known");
    assert!((3 * 288 - 2..=3 * 288 + 1).contains(&known.len()), "{}", known.len());
    let quiet = known.iter().filter(|load| **load == 0.0).count();
    assert!((71..=74).contains(&quiet), "{quiet} of them had none");
    assert!(known.iter().all(|load| *load == 0.0 || (*load - 2.0 / 300.0).abs() < 1e-9), "{known:?}");

    let mut sources = open(&fleet, folder.path());
    until_value(&mut sources[1], "waiting", 5.0).await;

    let ask = |name: &str, query: &str| {
        format!(
            "        {name}: {{ postgres: {{ from: db, query: \"{query}\" }}, unit: count, every: 200ms }}\n"
        )
    };
    let signals = [
        ask("numeric", "select 2.5::numeric"),
        ask("none", "select 1 where false"),
        ask("null", "select null::int"),
        ask("several", "select generate_series(1, 2)"),
        ask("text", "select 'many'"),
        ask("refused", "select nonsense"),
        ask("writes", "delete from jobs returning 1"),
        ask("slow", "select pg_sleep(60), 1"),
    ];
    let fleet = policy(
        &format!(
            "db: {{ postgres: {{ address: \"{}\", database: headroom, user: postgres }}, deadline: 3s }}",
            database.address()
        ),
        signals[..7].concat().trim(),
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    until_value(&mut source, "numeric", 2.5).await;
    let _ = until(&mut source, "none", |v| *v == Err(Absence::Empty)).await;
    let _ = until(&mut source, "null", |v| *v == Err(Absence::Empty)).await;
    let _ = until(&mut source, "text", |v| *v == Err(Absence::NotANumber)).await;
    for (name, words) in [("several", "several rows"), ("refused", "nonsense"), ("writes", "read-only")] {
        let says =
            |v: &Result<_, Absence>| matches!(v, Err(Absence::SourceFailed(why)) if why.contains(words));
        let _ = until(&mut source, name, says).await;
    }
    let fleet = policy(
        &format!(
            "db: {{ postgres: {{ address: \"{}\", database: headroom, user: postgres }}, deadline: 500ms }}",
            database.address()
        ),
        signals[7].trim(),
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    let slow = until(&mut source, "slow", |v| v.is_err()).await;
    assert!(matches!(slow, Err(Absence::SourceFailed(_))), "{slow:?}");

    // Slow queries hold nothing up beside them, whatever their turn, and are named.
    let more = ["slow", "lame"].map(|name| ask(name, "select pg_sleep(60), 1")).concat();
    let others = (0..9).map(|n| ask(&format!("n{n}"), &format!("select {n}"))).collect::<String>();
    let fleet = policy(
        &format!(
            "db: {{ postgres: {{ address: \"{}\", database: headroom, user: postgres }}, deadline: 2s }}",
            database.address()
        ),
        format!("{more}{others}").trim(),
    );
    let mut source = open(&fleet, folder.path()).remove(0);
    let said = |v: &Result<_, Absence>| matches!(v, Err(Absence::SourceFailed(why)) if why.contains("not over within"));
    for round in 0..3 {
        let _ = until(&mut source, "slow", said).await;
        let _ = until(&mut source, "lame", said).await;
        for n in 0..9 {
            if round > 0 {
                until_value(&mut source, &format!("n{n}"), f64::from(n)).await;
            }
        }
    }
}

/// What a source tells of a signal's past.
async fn recall(fleet: &Fleet, signal: &str, base: &Path) -> Result<History, String> {
    let lacking = [("app".parse().unwrap(), signal.parse().unwrap())];
    let mut groups = headroom_adapters::source::groups(fleet).into_iter();
    let mut recall = groups.find_map(|group| Recall::new(&group, &lacking, base, now())).unwrap();
    let Some(News::History { history, .. }) = recall.next().await else { panic!("nothing is told") };
    assert!(recall.next().await.is_none(), "it is told once");
    history
}

/// A past that can't be read is said by name: a refused query, and rows of something else.
#[tokio::test]
async fn a_past_of_something_else_is_said() {
    if skip_real("PostgreSQL") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = Database::start(folder.path(), "trust", &[]).await;
    for (query, words) in [
        ("select nonsense, {start}, {end}", "nonsense"),
        ("select 'soon', 1 + 0 * {start} * {end}::float", "is no moment"),
        ("select {start}, 'many' || {end}", "is no number"),
    ] {
        let fleet = policy(
            &format!(
                "db: {{ postgres: {{ address: \"{}\", database: headroom, user: postgres }} }}",
                database.address()
            ),
            &format!(
                "x: {{ postgres: {{ from: db, query: select 1, history: \"{query}\" }}, unit: count, forecast: {{}} }}"
            ),
        );
        let why = recall(&fleet, "x", folder.path()).await.unwrap_err();
        assert!(why.contains("`db`") && why.contains(words), "{query}: {why}");
    }
}

/// The past of a document: a stretch at a time, moments and values side by side.
#[tokio::test]
async fn the_past_of_a_document_is_read_as_its_page_says() {
    let last = now().as_millis() / 300_000 * 300 - 300;
    let begun = last - 3 * 86_400;
    let server = Faulty::start(Behaviour::Good(std::sync::Arc::new(move |request: &[u8]| {
        let text = String::from_utf8_lossy(request).into_owned();
        let asked = |key: &str| {
            let (_, rest) = text.split_once(&format!("{key}="))?;
            rest.split(['&', ' ']).next()?.parse::<i64>().ok()
        };
        let Some((from, to, step)) =
            asked("from").zip(asked("to")).zip(asked("step")).map(|((a, b), c)| (a, b, c))
        else {
            return (http_answer("200 OK", r#"{"queues": [{"depth": 3}], "updatedAt": 1}"#), false);
        };
        if !text.starts_with("GET /history?") {
            return (http_answer("404 Not Found", "no such page"), false);
        }
        let points =
            (from..to).step_by(usize::try_from(step).unwrap()).filter(|t| (begun..=last).contains(t));
        // Every tenth is a gap.
        let value = |t: i64| match t / 300 % 10 {
            0 => "null".to_owned(),
            n => n.to_string(),
        };
        let points: Vec<String> = points.map(|t| format!("{{\"t\": {t}, \"v\": {}}}", value(t))).collect();
        (http_answer("200 OK", &format!("{{\"points\": [{}]}}", points.join(","))), false)
    })))
    .await;
    let fleet = example("http", &[("127.0.0.1:8080", &server.address().to_string())]);
    let history = recall(&fleet, "orders", Path::new("/")).await.unwrap();
    for (k, value) in history.steps.iter().enumerate() {
        let t = history.from.as_millis() / 1000 + i64::try_from(k).unwrap() * 300;
        let expected = ((begun..=last).contains(&t) && t / 300 % 10 > 0).then_some((t / 300 % 10) as f64);
        assert_eq!(value.map(|level| level.get()), expected, "step {k}");
    }
    // A page that is not there is asked for once, and said.
    let fleet =
        example("http", &[("127.0.0.1:8080", &server.address().to_string()), ("/history?", "/other?")]);
    let why = recall(&fleet, "orders", Path::new("/")).await.unwrap_err();
    assert!(why.contains("404") && why.contains("no such page"), "{why}");
}

/// SCRAM with the right password, over TLS with an authority of one's own; without either nothing is told.
#[tokio::test]
async fn postgres_is_shown_a_password_over_tls() {
    if skip_real("PostgreSQL") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.put(folder.path());
    let (certificate, key) = authority.issue();
    let (cert_file, key_file) = (folder.path().join("server.pem"), folder.path().join("server.key"));
    write(&cert_file, &certificate);
    write(&key_file, &key);
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    own(&[&cert_file, &key_file]);
    let settings = [
        "-c".to_owned(),
        "ssl=on".to_owned(),
        "-c".to_owned(),
        format!("ssl_cert_file={}", cert_file.display()),
        "-c".to_owned(),
        format!("ssl_key_file={}", key_file.display()),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let database = Database::start(folder.path(), "scram-sha-256", &settings).await;
    let source = |rest: &str| {
        let fleet = policy(
            &format!(
                "db: {{ postgres: {{ address: \"localhost:{}\", database: headroom, user: postgres{rest} }} }}",
                database.port
            ),
            "tls: { postgres: { from: db, query: select ssl::int from pg_stat_ssl where pid = pg_backend_pid() }, unit: count, every: 100ms }",
        );
        open(&fleet, folder.path()).remove(0)
    };
    write(&folder.path().join("mine"), "hunter2\n");
    until_value(&mut source(", password: { file: mine }, ca: ca.pem"), "tls", 1.0).await;
    let client = ", client: { certificate: client.pem, key: client.key }";
    until_value(&mut source(&format!(", password: {{ file: mine }}, ca: ca.pem{client}")), "tls", 1.0).await;
    until_value(&mut source(", password: { file: mine }"), "tls", 0.0).await;
    write(&folder.path().join("wrong"), "hunter3\n");
    for (rest, words) in [
        (", password: { file: wrong }, ca: ca.pem", "password authentication failed"),
        (", ca: ca.pem", "password"),
        (", password: { file: mine }, tls: true", "certificate"),
    ] {
        let told = format!("{:?}", until(&mut source(rest), "tls", |_| true).await);
        assert!(told.contains(words) && !told.contains("hunter"), "{rest}: {told}");
    }
}
