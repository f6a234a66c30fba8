-- Any part of any text is found in memory (the read model), which is faster and does not slow every write down. While it
-- is being loaded, texts are read along the orders of a list.
DROP INDEX profiles_by_text;
