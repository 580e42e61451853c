"""What is asked, and what an answer is: balls, queries, answers, brackets, and their replay."""
