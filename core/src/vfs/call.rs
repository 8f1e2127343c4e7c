//! Functions that are passed as trait objects.

/// A function that is called through a trait object, such as `&mut dyn for<'a> Call<&'a str>`.
///
/// Every `FnMut` closure implements this trait. The argument types of the closure must be written
/// out. A `dyn Call` takes up less flash than a `dyn FnMut`, whose vtable also contains the code for
/// calling the closure by value.
pub trait Call<A> {
    /// Calls the function.
    fn call(&mut self, argument: A);
}

impl<A, F: FnMut(A)> Call<A> for F {
    fn call(&mut self, argument: A) {
        self(argument);
    }
}

/// A function that receives a file.
pub type WithFile<'f> = dyn for<'a> Call<&'a dyn super::File> + 'f;

/// A function that receives a name.
pub type WithName<'f> = dyn for<'a> Call<&'a str> + 'f;

/// A function that receives a parameter.
#[cfg(feature = "params")]
pub type WithParameter<'f> = dyn for<'a> Call<&'a dyn crate::files::Parameter> + 'f;

/// A function that receives the text of a value.
pub(crate) type WithText<'f> = dyn for<'a> Call<&'a [u8]> + 'f;
