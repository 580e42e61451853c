"""What outlives one question: the store of brackets, and the engine that answers from it."""
