"""The campaign database and the files beside it: campaigns, versions, stamp sets, features, encoders."""
