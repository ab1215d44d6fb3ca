"""How well a prediction matches its reference: overlap and surface distances, convention named."""
