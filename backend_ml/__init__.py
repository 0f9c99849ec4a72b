"""A labelling campaign served to Label Studio; imports `lvm_training`, never the other way round."""
