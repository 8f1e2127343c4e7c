//! Stages new values of parameters.

use core::fmt;

use super::Slot;
use crate::Decimal;
use crate::files::Staging;
use crate::params::Parameter;
use crate::vfs::{Client, Error, Result, Text};

impl<const VALUES: usize, const TEXT: usize> Slot<VALUES, TEXT> {
    fn try_stage(&self, parameter: &dyn Parameter, text: &[u8], client: Client) -> Result<()> {
        // The version is read first, so that any later change counts as a conflict.
        let version = parameter.version();
        parameter.check_limits(text)?;
        let address = parameter.address();
        let staged = self.with_transaction(|transaction| match transaction.holder {
            Some(holder) if holder == client => Ok(transaction.stage(address, version, text)),
            other => Err(other),
        });
        match staged {
            Ok(true) => Ok(()),
            Ok(false) => {
                let (values, bytes) = (Decimal::from(VALUES), Decimal::from(TEXT));
                Err(Error::NoSpace.with_message(format_args!(
                    "a transaction has room for {values} values of {bytes} bytes"
                )))
            }
            Err(holder) => Err(self.refuse(holder)),
        }
    }
}

impl<const VALUES: usize, const TEXT: usize> Staging for Slot<VALUES, TEXT> {
    fn render(&self, parameter: &dyn Parameter, out: &mut dyn Text) -> Option<fmt::Result> {
        self.with_transaction(|transaction| {
            let staged = transaction.find(parameter.address())?;
            Some(out.extend(&staged.text).map_err(|_| fmt::Error))
        })
    }

    fn stage(&self, parameter: &dyn Parameter, text: &[u8], client: Client) -> Result<()> {
        self.record(client, self.try_stage(parameter, text, client))
    }
}
