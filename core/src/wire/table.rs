//! The two macros: rows of fields in; types, decode, encode and Display out. Flat on purpose: no
//! recursion, no munching.

/// Writes the two enums of messages from sections of rows. A section says which dialects have its
/// rows and when they are compiled; a row gives one line of doc, the type number of the request
/// (the reply's is one more), a name, and the fields of both.
macro_rules! messages {
    ($(
        $rows:ident if $when:meta {
            $(
                #[$doc:meta]
                $number:literal $name:ident
                $( T { $($tfield:ident: $ttype:ty),* } )?
                R $( { $($rfield:ident: $rtype:ty),* } )?
            )*
        }
    )*) => {
        /// A request. Fields have the names of section 5 of the manual; all that is not a number
        /// borrows from the frame.
        #[allow(missing_docs, reason = "the row's man-page line names the fields")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub enum Tmessage<'a> {
            $($($(
                #[cfg($when)]
                #[$doc]
                $name { $($tfield: $ttype),* },
            )?)*)*
        }

        /// A reply. Fields have the names of section 5 of the manual; all that is not a number
        /// borrows from the frame.
        #[allow(missing_docs, reason = "the row's man-page line names the fields")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub enum Rmessage<'a> {
            $($(
                #[cfg($when)]
                #[$doc]
                $name $( { $($rfield: $rtype),* } )?,
            )*)*
        }

        impl<'a> Tmessage<'a> {
            /// The request in a whole frame.
            ///
            /// # Errors
            /// [`Malformed`], whose `Unknown` leaves the connection usable; [`tag`](super::tag)
            /// still tells whom to answer.
            pub fn decode(frame: &'a [u8], dialect: Dialect) -> Result<(Tag, Self), Malformed> {
                Self::decode_known(frame, dialect, |_| true)
            }

            /// [`decode`](Self::decode) of the types that are `known`; all others are
            /// [`Malformed::Unknown`], and not compiled where the compiler can tell.
            pub(crate) fn decode_known(
                frame: &'a [u8],
                dialect: Dialect,
                known: impl Fn(u8) -> bool,
            ) -> Result<(Tag, Self), Malformed> {
                let (kind, tag, mut reader) = Reader::open(frame, dialect)?;
                let message = match kind {
                    $($($(
                        #[cfg($when)]
                        $number if known($number) && Rows::$rows.has(dialect) => Tmessage::$name {
                            $($tfield: <$ttype>::decode(&mut reader)),*
                        },
                    )?)*)*
                    _ => return Err(Malformed::Unknown(kind)),
                };
                reader.finish()?;
                Ok((tag, message))
            }

            /// Writes the request as a whole frame, returns its length in bytes. That `dialect` has
            /// this row is for the caller to know.
            ///
            /// # Errors
            /// `Full` if `buf` is too small, or a string or list longer than its length field can
            /// say.
            pub fn encode(&self, tag: Tag, dialect: Dialect, buf: &mut [u8]) -> Result<usize, Full> {
                let mut writer = Writer::new(buf, dialect);
                match self {
                    $($($(
                        #[cfg($when)]
                        Tmessage::$name { $($tfield),* } => {
                            writer.open($number, tag);
                            $($tfield.encode(&mut writer);)*
                        }
                    )?)*)*
                }
                writer.close()
            }
        }

        impl<'a> Rmessage<'a> {
            /// The reply in a whole frame.
            ///
            /// # Errors
            /// [`Malformed`].
            pub fn decode(frame: &'a [u8], dialect: Dialect) -> Result<(Tag, Self), Malformed> {
                let (kind, tag, mut reader) = Reader::open(frame, dialect)?;
                // A reply's number is its request's plus one. A pattern cannot add.
                let message = match kind.wrapping_sub(1) {
                    $($(
                        #[cfg($when)]
                        $number if Rows::$rows.has(dialect) => Rmessage::$name {
                            $( $($rfield: <$rtype>::decode(&mut reader)),* )?
                        },
                    )*)*
                    _ => return Err(Malformed::Unknown(kind)),
                };
                reader.finish()?;
                Ok((tag, message))
            }

            /// Writes the reply as a whole frame, returns its length in bytes. That `dialect` has
            /// this row is for the caller to know.
            ///
            /// # Errors
            /// `Full` if `buf` is too small, or a string or list longer than its length field can
            /// say.
            pub fn encode(&self, tag: Tag, dialect: Dialect, buf: &mut [u8]) -> Result<usize, Full> {
                self.encode_known(tag, dialect, buf, |_| true)
            }

            /// [`encode`](Self::encode) of the replies to requests that are `known`, see
            /// [`Tmessage::decode_known`].
            pub(crate) fn encode_known(
                &self,
                tag: Tag,
                dialect: Dialect,
                buf: &mut [u8],
                known: impl Fn(u8) -> bool,
            ) -> Result<usize, Full> {
                let mut writer = Writer::new(buf, dialect);
                match self {
                    $($(
                        #[cfg($when)]
                        Rmessage::$name { $( $($rfield),* )? } if known($number) => {
                            writer.open($number + 1, tag);
                            $( $($rfield.encode(&mut writer);)* )?
                        }
                    )*)*
                    #[allow(unreachable_patterns)]
                    _ => return Err(Full),
                }
                writer.close()
            }
        }

        /// One line of a trace: `Twalk fid 1 newfid 2 wnames [a b]`.
        impl core::fmt::Display for Tmessage<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $($($(
                        #[cfg($when)]
                        Tmessage::$name { $($tfield),* } => {
                            trace_name('T', stringify!($name), f)?;
                            $(
                                f.write_str(concat!(" ", stringify!($tfield), " "))?;
                                $tfield.trace(f)?;
                            )*
                        }
                    )?)*)*
                }
                Ok(())
            }
        }

        /// One line of a trace: `Rread data 512 bytes`.
        impl core::fmt::Display for Rmessage<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $($(
                        #[cfg($when)]
                        Rmessage::$name { $( $($rfield),* )? } => {
                            trace_name('R', stringify!($name), f)?;
                            $($(
                                f.write_str(concat!(" ", stringify!($rfield), " "))?;
                                $rfield.trace(f)?;
                            )*)?
                        }
                    )*)*
                }
                Ok(())
            }
        }
    };
}

/// Writes a struct whose bytes are its fields, in order.
macro_rules! record {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident $(<$life:lifetime>)? {
            $( $(#[$doc:meta])* pub $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct $name $(<$life>)? {
            $( $(#[$doc])* pub $field: $type, )*
        }

        impl<'a> $crate::wire::Field<'a> for $name $(<$life>)? {
            #[inline]
            fn decode(reader: &mut $crate::wire::Reader<'a>) -> Self {
                Self { $($field: $crate::wire::Field::decode(reader)),* }
            }

            // Where it is not inlined, x86 gets it byte by byte.
            #[cfg_attr(target_pointer_width = "64", inline(always))]
            #[cfg_attr(not(target_pointer_width = "64"), inline)]
            fn encode(&self, writer: &mut $crate::wire::Writer<'_>) {
                $(self.$field.encode(writer);)*
            }

            fn trace(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("{")?;
                $(
                    f.write_str(concat!(" ", stringify!($field), " "))?;
                    self.$field.trace(f)?;
                )*
                f.write_str(" }")
            }
        }
    };
}
