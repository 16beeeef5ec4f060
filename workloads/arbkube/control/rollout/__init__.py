"""How a wanted document reaches its pods, and is taken back: decided purely, over durable state, from what was seen."""
