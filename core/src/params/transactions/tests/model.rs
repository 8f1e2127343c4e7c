//! Compares the results of random operations by several clients with those of a simple model.

use proptest::prelude::*;

use super::*;

const CLIENTS: usize = 3;
const SLOTS: usize = 2;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// The number of values that fit into a transaction.
const ROOM: usize = 3;

#[derive(Debug, Clone)]
enum Operation {
    Begin { client: usize, slot: usize },
    End { client: usize, slot: usize },
    Set { client: usize, parameter: usize, value: u8 },
    Stage { client: usize, slot: usize, parameter: usize, value: u8 },
    Commit { client: usize, slot: usize, force: bool },
    Abort { client: usize, slot: usize },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (client, slot) = (0..CLIENTS, 0..SLOTS);
    let who = (client.clone(), slot);
    let parameter = 0..NAMES.len();
    // Values above 9 are out of range.
    let value = 0..12u8;
    prop_oneof![
        2 => who.clone().prop_map(|(client, slot)| Operation::Begin { client, slot }),
        1 => who.clone().prop_map(|(client, slot)| Operation::End { client, slot }),
        2 => (client, parameter.clone(), value.clone())
            .prop_map(|(client, parameter, value)| Operation::Set { client, parameter, value }),
        8 => (who.clone(), parameter, value).prop_map(|((client, slot), parameter, value)| {
            Operation::Stage { client, slot, parameter, value }
        }),
        4 => (who.clone(), any::<bool>())
            .prop_map(|((client, slot), force)| Operation::Commit { client, slot, force }),
        1 => who.prop_map(|(client, slot)| Operation::Abort { client, slot }),
    ]
}

/// The error number of a result, or 0.
fn errno(result: Result<()>) -> u16 {
    result.map_or_else(|error| error.errno(), |()| 0)
}

#[derive(Default)]
struct Model {
    values: [u8; NAMES.len()],
    /// The number of times that each value has been set.
    changes: [usize; NAMES.len()],
    transactions: [ModelTransaction; SLOTS],
}

#[derive(Default, Clone)]
struct ModelTransaction {
    holder: Option<usize>,
    /// The staged value of each parameter, and the number of times that the parameter had been set
    /// when the value was staged.
    staged: [Option<(u8, usize)>; NAMES.len()],
}

impl Model {
    /// Returns whether the values satisfy the rule that `a` is at most `b`.
    fn accepts(values: &[u8; NAMES.len()]) -> bool {
        values[0] <= values[1]
    }

    fn apply(&mut self, operation: &Operation) -> u16 {
        match *operation {
            Operation::Begin { client, slot } => {
                let transaction = &mut self.transactions[slot];
                if transaction.holder.is_some() {
                    return 16;
                }
                *transaction = ModelTransaction { holder: Some(client), ..Default::default() };
                0
            }
            Operation::End { slot, .. } => {
                self.transactions[slot] = ModelTransaction::default();
                0
            }
            Operation::Abort { slot, .. } => {
                self.transactions[slot].staged = Default::default();
                0
            }
            Operation::Set { parameter, value, .. } => {
                let mut values = self.values;
                values[parameter] = value;
                // Only `a` has a check function.
                if value > 9 || (parameter == 0 && !Model::accepts(&values)) {
                    return 22;
                }
                self.set(parameter, value);
                0
            }
            Operation::Stage { client, slot, parameter, value } => {
                let changes = self.changes[parameter];
                let transaction = &mut self.transactions[slot];
                match transaction.holder {
                    _ if value > 9 => return 22,
                    None => return 1,
                    Some(holder) if holder != client => return 16,
                    Some(_) => {}
                }
                let count = transaction.staged.iter().flatten().count();
                if count == ROOM && transaction.staged[parameter].is_none() {
                    return 28;
                }
                transaction.staged[parameter] = Some((value, changes));
                0
            }
            Operation::Commit { slot, force, .. } => {
                let staged = self.transactions[slot].staged;
                let mut values = self.values;
                for (value, staged) in values.iter_mut().zip(staged) {
                    *value = staged.map_or(*value, |(value, _)| value);
                }
                // The rule is checked before the versions are compared.
                for (parameter, staged) in staged.iter().enumerate() {
                    let changes = self.changes[parameter];
                    if !force && staged.is_some_and(|(_, seen)| seen != changes) {
                        return 116;
                    }
                    if parameter == 0 && !Model::accepts(&values) {
                        return 22;
                    }
                }
                for (parameter, staged) in staged.into_iter().enumerate() {
                    if let Some((value, _)) = staged {
                        self.set(parameter, value);
                    }
                }
                self.transactions[slot].staged = Default::default();
                0
            }
        }
    }

    fn set(&mut self, parameter: usize, value: u8) {
        self.values[parameter] = value;
        self.changes[parameter] += 1;
    }
}

static A: Value<u8> = Value::new(0);
static B: Value<u8> = Value::new(0);
static C: Value<u8> = Value::new(0);
static D: Value<u8> = Value::new(0);
static VALUES: [&Value<u8>; NAMES.len()] = [&A, &B, &C, &D];
static SET: ParamSet = ParamSet::new(&PARAMS);
static MEMORY: TransactionMemory<SLOTS, ROOM, 4> = TransactionMemory::new();
static TRANSACTIONS: Transactions<SLOTS, ROOM, 4> = Transactions::new(&SET, &MEMORY);
static BELOW: Dir =
    Dir::new(&[file("c", &Param::new(&C).range(0, 9)), file("d", &Param::new(&D).range(0, 9))]);
static PARAMS: Dir = Dir::new(&[
    file("a", &Param::new(&A).range(0, 9).check(at_most_b)),
    file("b", &Param::new(&B).range(0, 9)),
    table("transactions", &TRANSACTIONS, 3),
    dir("below", &BELOW),
]);

fn at_most_b(a: &u8, proposed: &Proposed<'_>) -> Checked {
    if *a <= proposed.get(&B) { Ok(()) } else { Err("a must be at most b") }
}

fn path(parameter: usize) -> String {
    let below = if parameter < 2 { "" } else { "below/" };
    std::format!("{below}{}", NAMES[parameter])
}

/// The tree and the clients' open `ctl` files.
struct Clients {
    tree: Tree,
    ctl: [Option<(usize, Handle)>; SLOTS],
}

impl Clients {
    /// Applies an operation. Returns `None` if the client cannot perform the operation because it
    /// does not hold the transaction.
    fn apply(&mut self, operation: &Operation) -> Option<u16> {
        let held = |client, slot: usize| {
            self.ctl[slot].filter(|(holder, _)| *holder == client).map(|(_, ctl)| ctl)
        };
        Some(match *operation {
            Operation::Begin { client, slot } => {
                let ctl = std::format!("transactions/{slot}/ctl");
                match open_as(&self.tree, Client(client as u8), &ctl) {
                    Ok(ctl) => {
                        self.ctl[slot] = Some((client, ctl));
                        0
                    }
                    Err(error) => error.errno(),
                }
            }
            Operation::End { client, slot } => {
                self.tree.close(&held(client, slot)?);
                self.ctl[slot] = None;
                0
            }
            Operation::Set { client, parameter, value } => {
                let text = value.to_string();
                errno(write(&self.tree, Client(client as u8), &path(parameter), &text))
            }
            Operation::Stage { client, slot, parameter, value } => {
                let file = std::format!("transactions/{slot}/{}", path(parameter));
                errno(write(&self.tree, Client(client as u8), &file, &value.to_string()))
            }
            Operation::Commit { client, slot, force } => {
                let text = if force { "commit force\n" } else { "commit\n" };
                errno(command(&self.tree, &held(client, slot)?, text))
            }
            Operation::Abort { client, slot } => {
                errno(command(&self.tree, &held(client, slot)?, "abort\n"))
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]
    #[test]
    fn clients_see_what_the_model_predicts(operations in prop::collection::vec(operation(), 1..60)) {
        for value in VALUES {
            value.set(0);
        }
        let mut clients = Clients { tree: Tree::new(&PARAMS), ctl: [None; SLOTS] };
        let mut model = Model::default();
        for operation in &operations {
            if let Some(result) = clients.apply(operation) {
                prop_assert_eq!(result, model.apply(operation), "{:?}", operation);
            }
            for (parameter, value) in VALUES.iter().enumerate() {
                prop_assert_eq!(value.get(), model.values[parameter]);
                for (slot, transaction) in model.transactions.iter().enumerate() {
                    let staged = transaction.staged[parameter];
                    let shown = staged.map_or(model.values[parameter], |(value, _)| value);
                    let file = std::format!("transactions/{slot}/{}", path(parameter));
                    prop_assert_eq!(cat(&clients.tree, &file), std::format!("{shown}\n"));
                }
            }
        }
        for (_, ctl) in clients.ctl.iter().flatten() {
            clients.tree.close(ctl);
        }
    }
}
