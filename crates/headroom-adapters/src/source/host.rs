//! Figures of this machine, from `/proc` (A12's infrastructure class).
//!
//! Shares of time and rates are taken between two rounds, so the first round has none of them.

use std::path::PathBuf;

use async_trait::async_trait;
use headroom_core::fleet::{Ask, HostAsk, HostFigure};
use headroom_core::reading::Absence;
use headroom_core::units::Timestamp;
use headroom_engine::driver::now;

use super::poll::{Figure, ReadError, Reader, Want};

/// Bytes of a sector in `/proc/diskstats`, whatever the disk's own are (Documentation/admin-guide/iostats.rst).
const SECTOR: f64 = 512.0;

/// Reads this machine.
pub struct Host {
    proc: PathBuf,
    figures: Vec<HostFigure>,
    before: Option<(Timestamp, Totals)>,
}

/// Totals since the start of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    cpu: Option<(f64, f64)>,
    disk_bytes: Option<f64>,
    network_bytes: Option<f64>,
}

impl Host {
    /// Reads what is wanted of this machine.
    ///
    /// # Errors
    /// Where something else is wanted.
    pub fn new(wants: &[Want]) -> Result<Self, ReadError> {
        let asks: Vec<&HostAsk> = super::asks(wants, |ask| match ask {
            Ask::Host(ask) => Some(ask),
            _ => None,
        })?;
        let figures = asks.into_iter().map(|ask| ask.figure).collect();
        Ok(Self { proc: "/proc".into(), figures, before: None })
    }

    fn text(&self, file: &str) -> Option<String> {
        // Files of `/proc` are made in memory at the moment they are read.
        std::fs::read_to_string(self.proc.join(file)).ok()
    }

    fn totals(&self) -> Totals {
        Totals {
            cpu: self.text("stat").as_deref().and_then(cpu),
            disk_bytes: self.text("diskstats").as_deref().and_then(disk_bytes),
            network_bytes: self.text("net/dev").as_deref().and_then(network_bytes),
        }
    }

    fn figure(&self, figure: HostFigure, at: Timestamp, totals: &Totals) -> Result<f64, Absence> {
        let between = |of: fn(&Totals) -> Option<f64>| {
            let (then, before) = self.before.as_ref().ok_or(Absence::Empty)?;
            #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
            let seconds = at.since(*then).as_millis() as f64 / 1000.0;
            let grown = of(totals).ok_or(Absence::Empty)? - of(before).ok_or(Absence::Empty)?;
            // A disk or a link that was taken away takes its total along.
            if seconds > 0.0 && grown >= 0.0 { Ok(grown / seconds) } else { Err(Absence::Empty) }
        };
        match figure {
            HostFigure::Cpu => {
                let (busy, all) = totals.cpu.ok_or(Absence::Empty)?;
                let (_, before) = self.before.as_ref().ok_or(Absence::Empty)?;
                let (busy_before, all_before) = before.cpu.ok_or(Absence::Empty)?;
                if all > all_before {
                    Ok((busy - busy_before) / (all - all_before))
                } else {
                    Err(Absence::Empty)
                }
            }
            HostFigure::Memory => self.text("meminfo").as_deref().and_then(memory).ok_or(Absence::Empty),
            HostFigure::Load => self
                .text("loadavg")
                .and_then(|text| text.split(' ').next()?.parse().ok())
                .ok_or(Absence::Empty),
            HostFigure::DiskIo => between(|t| t.disk_bytes),
            HostFigure::Network => between(|t| t.network_bytes),
            HostFigure::CpuPressure => {
                self.text("pressure/cpu").as_deref().and_then(pressure).ok_or(Absence::Empty)
            }
        }
    }
}

#[async_trait]
impl Reader for Host {
    async fn read(&mut self) -> Result<Vec<Figure>, ReadError> {
        let (at, totals) = (now(), self.totals());
        let figures =
            self.figures.iter().map(|figure| Ok((at, self.figure(*figure, at, &totals)?))).collect();
        self.before = Some((at, totals));
        Ok(figures)
    }
}

/// Busy and all time of all cores. Waiting for a disk and time stolen by another machine's guest are not ours.
fn cpu(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).map_while(|t| t.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are part of user and nice.
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.get(..8)? else { return None };
    let busy = user + nice + system + irq + softirq;
    Some((busy, busy + idle + iowait + steal))
}

fn memory(meminfo: &str) -> Option<f64> {
    let kilobytes = |name: &str| -> Option<f64> {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let (total, available) = (kilobytes("MemTotal:")?, kilobytes("MemAvailable:")?);
    (total > 0.0).then(|| 1.0 - available / total)
}

/// Bytes read and written by whole disks; partitions and what is stacked on disks would count twice. `None` where there
/// is no disk: nothing that can't be measured is 0.
fn disk_bytes(diskstats: &str) -> Option<f64> {
    let sectors = |line: &str| -> Option<f64> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = *fields.get(2)?;
        let partition = match name.strip_prefix("nvme").or_else(|| name.strip_prefix("mmcblk")) {
            Some(rest) => rest.contains('p'),
            None => name.ends_with(|c: char| c.is_ascii_digit()),
        };
        let stacked = ["loop", "ram", "dm-", "md", "zram", "sr"].iter().any(|p| name.starts_with(p));
        (!partition && !stacked).then_some(())?;
        Some(fields.get(5)?.parse::<f64>().ok()? + fields.get(9)?.parse::<f64>().ok()?)
    };
    diskstats.lines().filter_map(sectors).reduce(|a, b| a + b).map(|all| all * SECTOR)
}

/// As [`disk_bytes`], of links.
fn network_bytes(dev: &str) -> Option<f64> {
    let bytes = |line: &str| -> Option<f64> {
        let (name, counts) = line.split_once(':')?;
        (name.trim() != "lo").then_some(())?;
        let counts: Vec<&str> = counts.split_whitespace().collect();
        Some(counts.first()?.parse::<f64>().ok()? + counts.get(8)?.parse::<f64>().ok()?)
    };
    dev.lines().filter_map(bytes).reduce(|a, b| a + b)
}

fn pressure(cpu: &str) -> Option<f64> {
    let line = cpu.lines().find(|line| line.starts_with("some "))?;
    let percent: f64 = line.split_whitespace().find_map(|part| part.strip_prefix("avg10="))?.parse().ok()?;
    Some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A12: cpu, memory, disk I/O and network of the machine.
    #[test]
    fn files_of_proc_are_understood() {
        let (busy, all) = cpu("cpu  100 10 30 800 40 5 5 10 0 0\ncpu0 1 1 1 1 1 1 1 1\n").unwrap();
        assert_eq!((busy, all), (150.0, 1000.0));
        assert_eq!(cpu("intr 1"), None);
        assert_eq!(memory("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n"), Some(0.75));
        let disks = "8 0 sda 1 0 10 0 1 0 20 0 0 0 0\n8 1 sda1 1 0 10 0 1 0 20 0 0 0 0\n\
                     259 0 nvme0n1 1 0 1 0 1 0 1 0 0 0 0\n259 1 nvme0n1p1 1 0 1 0 1 0 1 0 0 0 0\n\
                     7 0 loop0 1 0 9 0 1 0 9 0 0 0 0\n";
        assert_eq!(disk_bytes(disks), Some(32.0 * SECTOR));
        let dev = "Inter-|   Receive\n    lo: 5 0 0 0 0 0 0 0 5 0\n  eth0: 100 0 0 0 0 0 0 0 50 0\n";
        assert_eq!(network_bytes(dev), Some(150.0));
        assert_eq!(pressure("some avg10=12.50 avg60=0.00 avg300=0.00 total=1\n"), Some(0.125));
    }

    /// A `/proc` that is missing, empty or garbage gives no figure, and above all no 0.
    #[tokio::test]
    async fn what_can_not_be_read_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let all = [
            HostFigure::Cpu,
            HostFigure::Memory,
            HostFigure::Load,
            HostFigure::DiskIo,
            HostFigure::Network,
            HostFigure::CpuPressure,
        ];
        let mut host = Host { proc: folder.path().to_owned(), figures: all.to_vec(), before: None };
        for garbage in
            [None, Some(&b""[..]), Some(&[0xff; 3000]), Some(b"cpu  x\nMemTotal: many\nsome avg10=\n a:b\n")]
        {
            if let Some(garbage) = garbage {
                for file in ["stat", "meminfo", "loadavg", "diskstats", "net/dev", "pressure/cpu"] {
                    let file = folder.path().join(file);
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(file, garbage).unwrap();
                }
            }
            for _ in 0..2 {
                let figures = host.read().await.unwrap();
                assert!(
                    figures.iter().all(|figure| *figure == Err(Absence::Empty)),
                    "{garbage:?}: {figures:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn this_machine_has_figures_from_the_second_round_on() {
        let wants: Vec<Want> = [HostFigure::Cpu, HostFigure::Memory, HostFigure::Load, HostFigure::Network]
            .into_iter()
            .map(|figure| Want {
                ask: Ask::Host(HostAsk { from: "m".parse().unwrap(), figure }),
                window: headroom_core::units::Span::seconds(1),
                fresh_for: headroom_core::units::Span::seconds(1),
            })
            .collect();
        let mut host = Host::new(&wants).unwrap();
        let first = host.read().await.unwrap();
        assert_eq!(first[0], Err(Absence::Empty), "a share of time needs two rounds");
        assert!(first[1].as_ref().is_ok_and(|(_, share)| (0.0..=1.0).contains(share)));
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let figures = host.read().await.unwrap();
            if let Ok((_, cpu)) = figures[0] {
                assert!((0.0..=1.0).contains(&cpu), "{cpu}");
                assert!(figures[2].is_ok() && figures[3].is_ok());
                return;
            }
        }
    }
}
