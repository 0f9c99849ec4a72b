"""The HTTP interface that Label Studio and other programs call."""
