"""Results that were made with other tools: embeddings and predictions."""
