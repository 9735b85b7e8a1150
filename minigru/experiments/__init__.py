"""What a trained recurrent layer does with its memory: made-up tasks, traces of the gates, a person's own pictures."""
