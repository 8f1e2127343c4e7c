//! Transactions that change multiple parameters at once.

use super::error::{Error, Result};
use super::{Params, without_newline};
use crate::{File, OpenMode};

/// A transaction that sets either all of its parameters or none of them. The transaction uses one
/// of the slots in the server's `transactions` directory. If the transaction is dropped or the
/// connection is lost, the transaction ends without setting any parameters.
#[derive(Debug)]
pub struct Transaction {
    params: Params,
    /// The path of the slot, for example `/params/transactions/0`.
    path: String,
    ctl: File,
}

impl Transaction {
    pub(super) async fn begin(params: &Params) -> Result<Transaction> {
        let dir = params.file("transactions");
        let slots = params.client.read_dir(&dir).await;
        let slots = slots.map_err(|error| params.missing(&dir, error, SEVERAL))?;
        let mut used = Vec::new();
        for slot in slots {
            let path = format!("{dir}/{}", slot.name);
            let opened = params.client.open(format!("{path}/ctl"), OpenMode::READ_WRITE).await;
            match opened {
                Ok(ctl) => return Ok(Transaction { params: params.clone(), path, ctl }),
                Err(error) => match params.refused(&path, error, None).await {
                    Error::Refused { path, reason } => used.push((path, reason)),
                    other => return Err(other),
                },
            }
        }
        Err(Error::NoFreeTransaction { used })
    }

    /// Sets a parameter in this transaction. The parameter keeps its value until the transaction is
    /// committed.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] if the server rejects the value, or [`Error::TransactionFull`] if
    /// the value is too long for a transaction or if the transaction already changes as many
    /// parameters as the server allows.
    pub async fn set(&self, path: &str, value: &str) -> Result<()> {
        let written = self.params.write(&format!("{}/{path}", self.path), value).await;
        let Err(error) = written else { return Ok(()) };
        let is_full = error.errno() == Some(ENOSPC);
        match self.params.refused(path, error, Some(&self.ctl)).await {
            // In 9P2000, error replies contain text but no error number.
            Error::Refused { reason, .. }
                if is_full || reason.starts_with("a transaction has room for ") =>
            {
                Err(Error::TransactionFull(reason))
            }
            error => Err(error),
        }
    }

    /// Returns the value that a parameter will have after the commit.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses the request.
    pub async fn get(&self, path: &str) -> Result<String> {
        self.params.read(&format!("{}/{path}", self.path)).await
    }

    /// Sets all parameters in this transaction at once.
    ///
    /// # Errors
    /// Returns [`Error::Commit`] if the values violate a rule, or if another client has set one of
    /// the parameters since this transaction set it. After an error, no parameter has changed.
    pub async fn commit(self) -> Result<()> {
        self.finish("commit").await
    }

    /// Sets all parameters in this transaction at once, even if another client has set one of them
    /// in the meantime.
    ///
    /// # Errors
    /// Returns [`Error::Commit`] if the values violate a rule. After an error, no parameter has
    /// changed.
    pub async fn commit_force(self) -> Result<()> {
        self.finish("commit force").await
    }

    /// Ends the transaction without setting any parameters and waits for the server's confirmation.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses the request.
    pub async fn abort(self) -> Result<()> {
        let Transaction { path, ctl, .. } = self;
        ctl.close().await.map_err(|error| Error::Client { path, error })
    }

    async fn finish(self, command: &str) -> Result<()> {
        let Transaction { params, path, ctl } = self;
        let line = format!("{command}\n");
        let result = match ctl.write_all_at(0, line.as_bytes()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(match params.refused(&path, error, Some(&ctl)).await {
                Error::Refused { reason, .. } => Error::Commit(reason),
                other => other,
            }),
        };
        let closed = ctl.close().await.map_err(|error| Error::Client { path, error });
        result.and(closed)
    }

    /// Returns the state of the transaction (for example `3 changes`) or the reason for the last
    /// refusal.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses the request.
    pub async fn state(&self) -> Result<String> {
        let text = self.ctl.read_all().await;
        let text = text.map_err(|error| Error::Client { path: self.path.clone(), error })?;
        Ok(without_newline(&text))
    }
}

/// The error number with which a server refuses a value that does not fit in a transaction.
const ENOSPC: u32 = 28;

/// The name used in error messages for the operation that requires transactions.
const SEVERAL: &str = "set several parameters at once";
