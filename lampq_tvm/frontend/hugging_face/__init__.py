"""Folders as the Hugging Face hub holds models: `config.json`, safetensors weights, and what is done to images."""
