//! Runs a command and says what it took.

use super::commands::{Contender, Server};
use crate::run::output;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// GNU time: the standard library has no resource usage of children.
const TIME: &str = "/usr/bin/time";
const SERVER_START: Duration = Duration::from_secs(30);
/// Ticks of the processor times in `/proc`; fixed at 100 a second on Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// What a run took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Taken {
    /// Seconds.
    pub(super) wall: f64,
    /// Processor seconds of the command.
    pub(super) cpu: f64,
    /// Largest resident memory of the command, in KiB.
    pub(super) rss: f64,
    /// Processor seconds of the server meanwhile.
    pub(super) server_cpu: f64,
    /// Largest resident memory of the server, in KiB.
    pub(super) server_rss: f64,
}

/// What the words in braces stand for.
#[derive(Debug, Clone)]
pub(super) struct Names(BTreeMap<&'static str, String>);

impl Names {
    /// `release` is the folder of release builds.
    pub(super) fn new(release: &Path, image: &Path, work: &Path) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self(BTreeMap::from([
            ("{airlock}", text(&release.join("airlock"))),
            ("{examples}", text(&release.join("examples"))),
            ("{image}", text(image)),
            ("{work}", text(work)),
        ]))
    }

    fn with(&self, name: &'static str, value: String) -> Self {
        let mut names = self.clone();
        names.0.insert(name, value);
        names
    }

    fn get(&self, name: &str) -> PathBuf {
        PathBuf::from(self.0.get(name).map_or("", String::as_str))
    }

    /// Returns the words of a command. What stands for a name may have blanks.
    pub(super) fn fill(&self, line: &str) -> Vec<String> {
        let fill =
            |word: &str| self.0.iter().fold(word.to_owned(), |text, (name, value)| text.replace(name, value));
        line.split_whitespace().map(fill).collect()
    }
}

/// Runs a contender once, and once more where it has an `again`.
pub(super) fn once(contender: &Contender, names: &Names) -> Result<Vec<Taken>> {
    let Some(server) = contender.server else {
        return Ok(vec![timed(contender, names)?]);
    };
    let data = names.get("{work}").join("data");
    if data.exists() {
        fs::remove_dir_all(&data).context("cannot remove the data of the last run")?;
    }
    fs::create_dir_all(&data).context("cannot create a folder for a server")?;
    let names =
        names.with("{data}", data.to_string_lossy().into_owned()).with("{port}", free_port()?.to_string());
    let running = Running::start(server, &names)?;
    let mut taken = Vec::new();
    let mut before = 0.0;
    for _ in 0..=usize::from(contender.again.is_some()) {
        let mut run = timed(contender, &names)?;
        let (cpu, rss) = running.usage()?;
        run.server_cpu = cpu - before;
        run.server_rss = rss;
        before = cpu;
        taken.push(run);
    }
    drop(running);
    fs::remove_dir_all(&data).context("cannot remove the data of a server")?;
    // What was written must not be paid for by the next run.
    output(&mut Command::new("sync"))?;
    Ok(taken)
}

fn timed(contender: &Contender, names: &Names) -> Result<Taken> {
    let words = names.fill(contender.line);
    let work = names.get("{work}");
    let report = work.join("time");
    let log = work.join("command.log");
    let said = File::create(&log).context("cannot create a log")?;
    let status = Command::new(TIME)
        .args(["-f", "%e %U %S %M", "-o"])
        .arg(&report)
        .args(&words)
        .env("AIRLOCK_HOME", work.join("home"))
        .stdin(Stdio::null())
        .stdout(said.try_clone().context("cannot share a log")?)
        .stderr(said)
        .status()
        .with_context(|| format!("cannot run {TIME}"))?;
    if !status.code().is_some_and(|code| contender.codes.contains(&code)) {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!("{} ended with {status}:\n  {}\n{end}", contender.name, words.join(" "));
    }
    let text = fs::read_to_string(&report).context("cannot read what time wrote")?;
    parse_time(&text).with_context(|| format!("cannot understand what time wrote: {text}"))
}

/// Reads the last line of GNU time; a line about the exit code may stand before it.
fn parse_time(text: &str) -> Option<Taken> {
    let numbers: Vec<f64> =
        text.lines().last()?.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [wall, user, system, rss] = numbers.try_into().ok()?;
    Some(Taken { wall, cpu: user + system, rss, ..Taken::default() })
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// A server that is killed when this is dropped.
struct Running {
    child: Child,
}

impl Running {
    fn start(server: Server, names: &Names) -> Result<Self> {
        if let Some(target) = server.target {
            let file = File::create(names.get("{data}").join(target)).context("cannot create a target")?;
            file.set_len(fs::metadata(names.get("{image}"))?.len()).context("cannot size a target")?;
        }
        let words = names.fill(server.line);
        let log_path = names.get("{work}").join("server.log");
        let log = File::create(&log_path).context("cannot create a log")?;
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env("AIRLOCK_HOME", names.get("{work}").join("director-home"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", words.join(" ")))?;
        let mut running = Self { child };
        let port: u16 = names.get("{port}").to_string_lossy().parse().context("a port is a number")?;
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if running.child.try_wait()?.is_some() || start.elapsed() > SERVER_START {
                let said = fs::read_to_string(&log_path).unwrap_or_default();
                bail!("the server does not listen: {}\n{said}", words.join(" "));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// Returns processor seconds and largest memory in KiB of the server and its children.
    fn usage(&self) -> Result<(f64, f64)> {
        let mut ids = vec![self.child.id()];
        let (mut cpu, mut rss) = (0.0, 0.0);
        while let Some(id) = ids.pop() {
            let folder = PathBuf::from(format!("/proc/{id}"));
            let Ok(stat) = fs::read_to_string(folder.join("stat")) else { continue };
            cpu += parse_stat(&stat).context("cannot understand /proc/PID/stat")?;
            let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
            rss += status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok())
                .unwrap_or(0.0);
            let children = fs::read_to_string(folder.join(format!("task/{id}/children"))).unwrap_or_default();
            ids.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
        Ok((cpu, rss))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the processor seconds of a process and of its children that have ended.
fn parse_stat(stat: &str) -> Option<f64> {
    // The name stands in parentheses and may hold anything; the numbers follow it.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|word| word.parse::<f64>().ok())
        .collect::<Option<Vec<_>>>()?
        .iter()
        .sum();
    Some(ticks / TICKS_A_SECOND)
}

/// Returns the median of each figure over runs of one contender.
pub(super) fn median(runs: &[Taken]) -> Taken {
    let of = |figure: fn(&Taken) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    Taken {
        wall: of(|run| run.wall),
        cpu: of(|run| run.cpu),
        rss: of(|run| run.rss),
        server_cpu: of(|run| run.server_cpu),
        server_rss: of(|run| run.server_rss),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_time_is_read() {
        let text = "Command exited with non-zero status 3\n2.50 1.25 0.50 20480\n";
        let taken = Taken { wall: 2.5, cpu: 1.75, rss: 20480.0, ..Taken::default() };
        assert_eq!(parse_time(text), Some(taken));
        assert_eq!(parse_time("nothing"), None);
    }

    #[test]
    fn processor_times_follow_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 0 0 0 0 0 150 50 10 40 20 0 4 0";
        assert_eq!(parse_stat(stat), Some(2.5));
    }

    #[test]
    fn the_median_is_of_each_figure() {
        let run = |wall, cpu| Taken { wall, cpu, ..Taken::default() };
        let middle = median(&[run(3.0, 1.0), run(1.0, 5.0), run(2.0, 9.0)]);
        assert_eq!((middle.wall, middle.cpu), (2.0, 5.0));
    }

    #[test]
    fn words_in_braces_are_replaced() {
        let names =
            Names::new(Path::new("a"), Path::new("disk"), Path::new("w w")).with("{port}", "9".to_owned());
        assert_eq!(names.fill("{airlock} x={work}/{port}"), ["a/airlock", "x=w w/9"]);
    }
}
