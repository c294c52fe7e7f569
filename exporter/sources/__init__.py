"""Getting hold of a model: from files, which are checked before they are loaded, and from memory."""
