"""Whether each network had its chance: settings to try, the choice among them, rates run down."""
