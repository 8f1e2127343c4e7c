module github.com/datakit-rs/datakit/std-adapter/bindings/go

go 1.19
