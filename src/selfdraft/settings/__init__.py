"""What the settings of a study may be: rules that the config's check and the stages share."""
