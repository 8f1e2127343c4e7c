//! Two macros that turn rows of fields into types with `decode`, `encode` and `Display`
//! implementations. The macros use neither recursion nor token munching.

/// Generates the two message enums and the message type constants from sections of rows.
///
/// Each section names the dialects that use its rows and the condition under which the rows are
/// compiled. A row begins with two lines of documentation, one for the request and one for the
/// reply, followed by the request's type number and a name. The row then contains the request's
/// type constant and fields, followed by the reply's type constant and fields. The reply's type
/// number is one more than the request's.
macro_rules! messages {
    ($(
        $rows:ident if $when:meta {
            $(
                #[$request:meta]
                #[$reply:meta]
                $number:literal $name:ident
                $( T $tkind:ident { $($tfield:ident: $ttype:ty),* $(,)? } )?
                R $rkind:ident $( { $($rfield:ident: $rtype:ty),* $(,)? } )?
            )*
        }
    )*) => {
        $($(
            $(
                #[doc = concat!("The type byte of a `", stringify!($name), "` request.")]
                pub const $tkind: u8 = $number;
            )?
            #[doc = concat!("The type byte of a `", stringify!($name), "` reply.")]
            pub const $rkind: u8 = $number + 1;
        )*)*

        /// The name of a message type, such as `Twalk` for 110. Types that no dialect uses are
        /// displayed as `type-N`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KindName(pub u8);

        impl fmt::Display for KindName {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($(
                        $( $tkind => write_name('T', stringify!($name), f), )?
                        $rkind => write_name('R', stringify!($name), f),
                    )*)*
                    kind => write!(f, "type-{kind}"),
                }
            }
        }

        /// A request. The fields have the names used in the Plan 9 manual. Strings, data and lists
        /// borrow from the frame.
        #[allow(missing_docs, reason = "the row's man-page line names the fields")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub enum Tmessage<'a> {
            $($($(
                #[cfg($when)]
                #[$request]
                #[$reply]
                $name { $($tfield: $ttype),* },
            )?)*)*
        }

        /// A reply. The fields have the names used in the Plan 9 manual. Strings, data and lists
        /// borrow from the frame.
        #[allow(missing_docs, reason = "the row's man-page line names the fields")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub enum Rmessage<'a> {
            $($(
                #[cfg($when)]
                #[$request]
                #[$reply]
                $name $( { $($rfield: $rtype),* } )?,
            )*)*
        }

        impl<'a> Tmessage<'a> {
            /// Decodes a request from a complete frame.
            ///
            /// # Errors
            /// Returns [`Malformed`] if the frame is not a request in `dialect`. The server can
            /// keep the connection open and send an error reply with the tag that
            /// [`tag`](super::tag) returns.
            pub fn decode(frame: &'a [u8], dialect: Dialect) -> Result<(Tag, Self), Malformed> {
                let (kind, tag, mut reader) = Reader::open(frame, dialect)?;
                let message = match kind {
                    $($($(
                        #[cfg($when)]
                        $number if Rows::$rows.has(dialect) => Tmessage::$name {
                            $($tfield: <$ttype>::decode(&mut reader)),*
                        },
                    )?)*)*
                    _ => return Err(Malformed::Unknown(kind)),
                };
                reader.finish()?;
                Ok((tag, message))
            }

            /// Takes the fields of a request of type `KIND`. The type is a constant so that only
            /// the code for this type is compiled. The caller must have checked the type.
            #[inline(always)]
            pub(crate) fn take<const KIND: u8>(reader: &mut Reader<'a>) -> Option<Self> {
                match KIND {
                    $($($(
                        #[cfg($when)]
                        $number => Some(Tmessage::$name {
                            $($tfield: <$ttype>::decode(reader)),*
                        }),
                    )?)*)*
                    _ => None,
                }
            }

            /// Writes the request as a complete frame and returns its length in bytes. This method
            /// does not check whether `dialect` has this message.
            ///
            /// # Errors
            /// Returns [`Full`] if `buf` is too small, or if a string or list is too long for its
            /// length field.
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
            /// Decodes a reply from a complete frame.
            ///
            /// # Errors
            /// Returns [`Malformed`] if the frame is not a reply in `dialect`.
            pub fn decode(frame: &'a [u8], dialect: Dialect) -> Result<(Tag, Self), Malformed> {
                let (kind, tag, mut reader) = Reader::open(frame, dialect)?;
                // The type of a reply is the request's type plus one, but a pattern cannot contain
                // an addition.
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

            /// Writes the reply as a complete frame and returns its length in bytes. This method
            /// does not check whether `dialect` has this message.
            ///
            /// # Errors
            /// Returns [`Full`] if `buf` is too small, or if a string or list is too long for its
            /// length field.
            pub fn encode(&self, tag: Tag, dialect: Dialect, buf: &mut [u8]) -> Result<usize, Full> {
                let mut writer = Writer::new(buf, dialect);
                match self {
                    $($(
                        #[cfg($when)]
                        Rmessage::$name { $( $($rfield),* )? } => {
                            writer.open($number + 1, tag);
                            $( $($rfield.encode(&mut writer);)* )?
                        }
                    )*)*
                }
                writer.close()
            }

            /// Appends the reply's fields. The type of the request, `REQUEST`, is a constant so
            /// that only the code for this type is compiled.
            #[inline(always)]
            pub(crate) fn put<const REQUEST: u8>(&self, writer: &mut Writer<'_>) {
                match REQUEST {
                    $($(
                        #[cfg($when)]
                        $number => {
                            if let Rmessage::$name { $( $($rfield),* )? } = self {
                                $( $($rfield.encode(writer);)* )?
                            }
                        }
                    )*)*
                    _ => writer.overflow(),
                }
            }
        }

        /// Formats the request as one line for a trace, for example `Twalk fid 1 newfid 2 wnames [a
        /// b]`.
        impl core::fmt::Display for Tmessage<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $($($(
                        #[cfg($when)]
                        Tmessage::$name { $($tfield),* } => {
                            write_name('T', stringify!($name), f)?;
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

        /// Formats the reply as one line for a trace, for example `Rread data 512 bytes`.
        impl core::fmt::Display for Rmessage<'_> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $($(
                        #[cfg($when)]
                        Rmessage::$name { $( $($rfield),* )? } => {
                            write_name('R', stringify!($name), f)?;
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

/// Generates a struct that is encoded field by field, in order.
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

            // If this function is not inlined, the generated x86 code writes the record byte by
            // byte.
            #[inline(always)]
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
