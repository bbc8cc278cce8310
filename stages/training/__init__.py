"""Fine-tuning: the encoded training set, the loop, and the methods that it trains, iEdit and InstructPix2Pix."""
