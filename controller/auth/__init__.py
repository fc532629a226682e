"""Who may do what: tokens with scopes, and secrets encrypted at rest."""
