//! Stages new values of parameters.

use core::fmt;

use super::Slot;
use crate::files::Staging;
use crate::params::Parameter;
use crate::vfs::{Client, Result, Text};

impl<const VALUES: usize, const TEXT: usize> Slot<VALUES, TEXT> {
    fn try_stage(&self, parameter: &dyn Parameter, text: &[u8], client: Client) -> Result<()> {
        // The version is read first, so that any later change counts as a conflict.
        let version = parameter.version();
        parameter.check_limits(text)?;
        let address = parameter.address();
        let (holder, staged) = self.with_transaction(|transaction| {
            let holder = transaction.holder();
            let is_holder = holder == Some(client);
            (holder, is_holder && transaction.stage(address, version, text).is_some())
        });
        if staged { Ok(()) } else { Err(self.refuse(holder, Some(client))) }
    }
}

impl<const VALUES: usize, const TEXT: usize> Staging for Slot<VALUES, TEXT> {
    fn render(&self, parameter: &dyn Parameter, out: &mut dyn Text) -> Option<fmt::Result> {
        let mut staged = self.staged(parameter.address());
        staged.as_mut().map(|staged| out.extend(staged.text()).map_err(|_| fmt::Error))
    }

    fn stage(&self, parameter: &dyn Parameter, text: &[u8], client: Client) -> Result<()> {
        self.record(client, self.try_stage(parameter, text, client))
    }
}
