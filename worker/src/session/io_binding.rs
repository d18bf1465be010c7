//! I/O binding: a session whose inputs and output are in memory that its device reaches by itself.
//!
//! Data in other memory is first copied to a buffer of the driver. The memory comes from an arena of the runtime, which
//! gives the same blocks again in later calls.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionOutputs};

use super::input::Input;
use crate::batch::Tensor;

/// The inputs and the output of one session.
#[derive(Debug)]
pub(super) struct DeviceMemory {
    binding: IoBinding,
    memory: Allocator,
}

impl DeviceMemory {
    /// Memory for outputs that is pinned for a CUDA device.
    pub(super) fn pinned(session: &Session, device_id: i32) -> ort::Result<Self> {
        Self::on(session, AllocationDevice::CUDA_PINNED, device_id)
    }

    /// Memory of this process for outputs, for a CPU.
    pub(super) fn here(session: &Session) -> ort::Result<Self> {
        Self::on(session, AllocationDevice::CPU, 0)
    }

    fn on(session: &Session, device: AllocationDevice<'_>, device_id: i32) -> ort::Result<Self> {
        let kind = (AllocatorType::Device, MemoryType::CPUInput);
        let memory = MemoryInfo::new(device, device_id, kind.0, kind.1)?;
        Ok(Self {
            binding: session.create_binding()?,
            memory: Allocator::new(session, memory)?,
        })
    }

    /// Runs the session. Everything is bound anew, because the next call has other shapes.
    pub(super) fn run<'a>(
        &'a mut self,
        session: &'a mut Session,
        (inputs, tensor): (&[Input], &Tensor),
        output: &str,
    ) -> ort::Result<SessionOutputs<'a>> {
        self.binding.clear();
        for input in inputs {
            let value = input.value(tensor, &self.memory)?;
            self.binding.bind_input(input.name(), &value)?;
        }
        self.binding
            .bind_output_to_device(output, self.memory.memory_info())?;
        // The copies run asynchronously.
        self.binding.synchronize_inputs()?;
        let outputs = session.run_binding(&self.binding)?;
        self.binding.synchronize_outputs()?;
        Ok(outputs)
    }
}
