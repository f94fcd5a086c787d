"""A model file or name becomes an ImportedModel: recognized operators and the layer table."""
