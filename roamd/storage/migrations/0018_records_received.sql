-- Received records in the order in which they came: what is still to be priced is found without a look at all the others.
CREATE INDEX records_received ON records (id) WHERE direction = 'in';
