//! Event channels, interrupts and waiting for either.
#![expect(unsafe_code, reason = "hypercalls take addresses Xen reads and writes")]

use super::{address, physdev_op};
use crate::{
    arch::time::Instant,
    xen::{
        abi::physdev,
        errno::{XenError, decode},
        events::{DomainId, Pirq, Port, Sharing},
        failing::{self, Operation},
    },
};
use xen_sys::{__HYPERVISOR_event_channel_op, __HYPERVISOR_sched_op, hypercall_2};

fn event_channel_op<T>(op: u32, argument: &mut T) -> Result<(), XenError> {
    // SAFETY: as in `memory_op`: each caller below passes the structure of its operation.
    decode(unsafe {
        hypercall_2(__HYPERVISOR_event_channel_op, op.into(), address(&raw mut *argument))
    })?;
    Ok(())
}

/// Sleeps until one of `ports` is pending or the deadline has passed.
pub fn poll(ports: &[Port], deadline: Instant) -> Result<(), XenError> {
    failing::check(Operation::Poll)?;
    poll_any(ports, deadline)
}

/// The same for the console's port.
pub fn poll_console(port: Port, deadline: Instant) -> Result<(), XenError> {
    failing::check(Operation::ConsolePoll)?;
    poll_any(&[port], deadline)
}

fn poll_any(ports: &[Port], deadline: Instant) -> Result<(), XenError> {
    let mut list = [0u32; 8];
    assert!(ports.len() <= list.len(), "polling {} ports, at most 8", ports.len());
    for (slot, port) in list.iter_mut().zip(ports) {
        *slot = port.0;
    }
    let mut argument = xen_sys::sched_poll {
        ports: list.as_mut_ptr(),
        nr_ports: u32::try_from(ports.len()).unwrap_or(0),
        // 0 would mean "no timeout", which no wait of ours is.
        timeout: deadline.0.max(1),
    };
    // SAFETY: SCHEDOP_poll reads the structure and `nr_ports` entries of `list`.
    decode(unsafe {
        let poll = xen_sys::SCHEDOP_poll.into();
        hypercall_2(__HYPERVISOR_sched_op, poll, address(&raw mut argument))
    })?;
    Ok(())
}

/// `EVTCHNOP_alloc_unbound`.
pub fn alloc_unbound(remote: DomainId) -> Result<Port, XenError> {
    let mut argument =
        xen_sys::evtchn_alloc_unbound { dom: DomainId::SELF.0, remote_dom: remote.0, port: 0 };
    failing::check(Operation::AllocUnbound)?;
    event_channel_op(xen_sys::EVTCHNOP_alloc_unbound, &mut argument)?;
    Ok(Port(argument.port))
}

/// `EVTCHNOP_bind_pirq`.
pub fn bind_pirq(pirq: Pirq, sharing: Sharing) -> Result<Port, XenError> {
    let flags = match sharing {
        Sharing::Shared => xen_sys::BIND_PIRQ__WILL_SHARE,
        Sharing::Exclusive => 0,
    };
    let mut argument = xen_sys::evtchn_bind_pirq { pirq: pirq.0, flags, port: 0 };
    failing::check(Operation::BindPirq)?;
    event_channel_op(xen_sys::EVTCHNOP_bind_pirq, &mut argument)?;
    Ok(Port(argument.port))
}

/// `EVTCHNOP_close`.
pub fn close(port: Port) -> Result<(), XenError> {
    failing::check(Operation::ClosePort)?;
    event_channel_op(xen_sys::EVTCHNOP_close, &mut xen_sys::evtchn_close { port: port.0 })
}

/// `EVTCHNOP_send`.
pub fn notify(port: Port) -> Result<(), XenError> {
    failing::check(Operation::Send)?;
    send(port)
}

/// The same to the console's daemon.
pub fn notify_console(port: Port) -> Result<(), XenError> {
    failing::check(Operation::ConsoleSend)?;
    send(port)
}

fn send(port: Port) -> Result<(), XenError> {
    event_channel_op(xen_sys::EVTCHNOP_send, &mut xen_sys::evtchn_send { port: port.0 })
}

/// `EVTCHNOP_unmask`: clears the mask and raises the upcall if the port is pending.
pub fn unmask(port: Port) -> Result<(), XenError> {
    failing::check(Operation::Unmask)?;
    event_channel_op(xen_sys::EVTCHNOP_unmask, &mut xen_sys::evtchn_unmask { port: port.0 })
}

/// `EVTCHNOP_bind_ipi` for the only vCPU: a port that rings at ourselves.
pub fn bind_ipi() -> Result<Port, XenError> {
    let mut argument = xen_sys::evtchn_bind_ipi { vcpu: 0, port: 0 };
    failing::check(Operation::BindIpi)?;
    event_channel_op(xen_sys::EVTCHNOP_bind_ipi, &mut argument)?;
    Ok(Port(argument.port))
}

/// `PHYSDEVOP_eoi`.
pub fn eoi(pirq: Pirq) -> Result<(), XenError> {
    failing::check(Operation::Eoi)?;
    physdev_op(physdev::EOI, &mut { pirq.0 })
}

/// `PHYSDEVOP_set_iopl`: lets port instructions reach Xen's per-port check instead of faulting.
pub fn set_iopl(level: u32) -> Result<(), XenError> {
    failing::check(Operation::SetIopl)?;
    physdev_op(physdev::SET_IOPL, &mut { level })
}
