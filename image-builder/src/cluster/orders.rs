// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done to a running cluster from outside: by a scenario's `@` lines, and by `./korrigan
//! ctl`.

use super::status::{LinkStatus, NodeStatus, Status};
use super::{NodeState, Running};
use crate::control::{Answer, Asked, Request};
use crate::switch::Link;
use anyhow::{Result, ensure};
use cluster_tests::{Between, Fault, Order};

impl Running {
    /// Answers who asks through the control socket; returns what was done to the cluster, if
    /// anything was, for the person at the terminal.
    pub fn answer(&mut self, asked: Asked) -> Option<String> {
        let (answer, done) = match asked.request {
            Request::List => (Answer::Cluster(self.status()), None),
            Request::Order(order) => match self.obey(order) {
                Ok(done) => (Answer::Done(done.clone()), Some(done)),
                Err(error) => (Answer::Refused(format!("{error:#}")), None),
            },
        };
        // Who asked may have gone.
        let _ = asked.answer.try_send(answer);
        done
    }

    /// Does what the order says; returns what was done as a sentence.
    ///
    /// # Errors
    /// The cluster has no such node, the node is not in a state for that, or QEMU does not start.
    pub fn obey(&mut self, order: Order) -> Result<String> {
        match order {
            Order::Kill { node } => self.kill_node(node),
            Order::Boot { node } => self.boot_node(node),
            Order::Pause { node } => self.pause_node(node),
            Order::Resume { node } => self.resume_node(node),
            Order::Worsen { link, fault } => self.worsen(link, fault),
            Order::Heal { link: None } => {
                self.heal_all();
                Ok("all links are good".to_owned())
            }
            Order::Heal { link: Some((a, b)) } => {
                let (from, to) = (self.index(a)?, self.index(b)?);
                self.set_link(from, to, Link::default());
                Ok(format!("the link between {a} and {b} is good"))
            }
        }
    }

    /// What the cluster is doing.
    pub fn status(&mut self) -> Status {
        let mut nodes = Vec::new();
        for (node, machine) in self.nodes.iter_mut().zip(&self.machines) {
            nodes.push(NodeStatus {
                id: node.id,
                state: node.state(),
                pid: node.process(),
                cores: machine.node.cores,
                memory_mib: machine.node.memory_mib,
                log: node.log.clone(),
            });
        }
        let accelerator = self.accelerator.to_string();
        let frames_forwarded = self.switch.counters().forwarded;
        Status { accelerator, nodes, links: self.links(), frames_forwarded }
    }

    fn links(&self) -> Vec<LinkStatus> {
        let mut links = Vec::new();
        for (from, a) in self.nodes.iter().enumerate() {
            for (to, b) in self.nodes.iter().enumerate().filter(|&(to, _)| to != from) {
                let (rule, traffic) = self.switch.link(from, to);
                links.push(LinkStatus {
                    from: a.id,
                    to: b.id,
                    cut: rule.cut,
                    slow_ms: rule.delay_us as f64 / 1000.0,
                    lose_percent: f64::from(rule.loss_ppm) / 10_000.0,
                    frames_forwarded: traffic.forwarded,
                    frames_dropped: traffic.dropped,
                });
            }
        }
        links
    }

    fn kill_node(&mut self, id: u16) -> Result<String> {
        let index = self.alive(id)?;
        self.nodes[index].kill();
        self.consoles[index].show(format!("\r\n--- node {id} was killed ---\r\n").as_bytes());
        Ok(format!("node {id} is killed; `./korrigan ctl boot {id}` boots it again"))
    }

    fn boot_node(&mut self, id: u16) -> Result<String> {
        let index = self.index(id)?;
        let state = self.nodes[index].state();
        ensure!(!state.is_alive(), "node {id} is {state}: `./korrigan ctl kill {id}` comes first");
        self.restart(index)?;
        Ok(format!("node {id} boots; its log is {}", self.nodes[index].log.display()))
    }

    fn pause_node(&mut self, id: u16) -> Result<String> {
        let index = self.alive(id)?;
        self.nodes[index].pause()?;
        Ok(format!("node {id} is paused; `./korrigan ctl resume {id}` lets it go on"))
    }

    fn resume_node(&mut self, id: u16) -> Result<String> {
        let index = self.alive(id)?;
        self.nodes[index].resume()?;
        Ok(format!("node {id} runs"))
    }

    /// Index of a node that has a QEMU.
    fn alive(&mut self, id: u16) -> Result<usize> {
        let index = self.index(id)?;
        let state = self.nodes[index].state();
        ensure!(state.is_alive(), "node {id} is {state}: `./korrigan ctl boot {id}` boots it");
        Ok(index)
    }

    fn worsen(&mut self, link: Between, fault: Fault) -> Result<String> {
        let Between { a, b, one_way } = link;
        let (from, to) = (self.index(a)?, self.index(b)?);
        self.change(from, to, fault);
        if !one_way {
            self.change(to, from, fault);
        }
        let what = match fault {
            Fault::Cut => "is cut".to_owned(),
            Fault::SlowMs(ms) => format!("takes {ms} ms longer"),
            Fault::LosePercent(percent) => format!("loses {percent} % of its frames"),
        };
        let ways =
            if one_way { format!("from {a} to {b}") } else { format!("between {a} and {b}") };
        Ok(format!("the link {ways} {what}; `./korrigan ctl heal {a} {b}` makes it good"))
    }

    fn change(&self, from: usize, to: usize, fault: Fault) {
        let (mut rule, _) = self.switch.link(from, to);
        match fault {
            Fault::Cut => rule.cut = true,
            Fault::SlowMs(ms) => rule.delay_us = ms * 1000,
            Fault::LosePercent(percent) => rule.loss_ppm = percent * 10_000,
        }
        self.switch.set_link(from, to, rule);
    }

    fn heal_all(&self) {
        for from in 0..self.nodes.len() {
            for to in (0..self.nodes.len()).filter(|&to| to != from) {
                self.switch.set_link(from, to, Link::default());
            }
        }
    }

    /// True if a node could come back: one runs, or was killed and can be booted again.
    pub fn is_of_use(&mut self) -> bool {
        self.nodes.iter_mut().any(|node| {
            let state = node.state();
            state.is_alive() || state == NodeState::Killed
        })
    }
}
