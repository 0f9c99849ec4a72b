"""Networks of campaigns beside the encoder, detectors and decoders: kept in the store, asked, and fine-tuned."""
